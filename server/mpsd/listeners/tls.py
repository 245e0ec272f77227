"""Encryption of a listener, and certificates that its clients must show."""

import ssl
from pathlib import Path

from mpsd.config.daemon import ListenerTls
from mpsd.errors import ConfigError, Problem


def server_context(table: str, tls: ListenerTls) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or newer; with `client_ca` only for clients whose certificate it signed.

    Args:
        table: of the configuration, for messages.

    Raises:
        ConfigError: a file cannot be read, is no PEM, or certificate and key do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
    except OSError as error:
        raise _problem(f"{table}.tls", f"certificate {tls.cert} and key {tls.key}: {_reason(error)}") from error
    if tls.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(tls.client_ca)
        except OSError as error:
            raise _problem(f"{table}.tls.client_ca", f"{tls.client_ca}: {_reason(error)}") from error
    return context


def peer_context(table: str, tls: ListenerTls, peers_ca: str | None) -> ssl.SSLContext:
    """Return the context for calls to another instance; this instance shows its own certificate if asked.

    Args:
        peers_ca: authorities that may sign the others' certificates; None for the system's.

    Raises:
        ConfigError: as `server_context`.
    """
    context = check_authorities(table, peers_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
    except OSError as error:
        raise _problem(f"{table}.tls", f"certificate {tls.cert} and key {tls.key}: {_reason(error)}") from error
    return context


def check_authorities(table: str, peers_ca: str | None) -> ssl.SSLContext:
    """Return a context that trusts the authorities of other instances.

    Raises:
        ConfigError: the file cannot be read, or is no PEM.
    """
    try:
        return ssl.create_default_context(cafile=peers_ca or None)
    except OSError as error:
        raise _problem(f"{table}.peers_ca", f"{peers_ca}: {_reason(error)}") from error


def pem_files(table: str, tls: ListenerTls) -> tuple[bytes, bytes, bytes | None]:
    """Return key, certificate and client authorities as bytes, checked as `server_context` does.

    Raises:
        ConfigError: see `server_context`.
    """
    server_context(table, tls)
    return (
        Path(tls.key).read_bytes(),
        Path(tls.cert).read_bytes(),
        Path(tls.client_ca).read_bytes() if tls.client_ca else None,
    )


def _no_password() -> str:
    """Raise an error for an encrypted key, because OpenSSL would ask for its password on the terminal."""
    raise OSError("the key is encrypted, and a daemon has nobody to ask for its password")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "they do not belong together"
    if isinstance(error, ssl.SSLError):
        return "not in PEM format"
    return error.strerror or str(error)


def _problem(path: str, message: str) -> ConfigError:
    return ConfigError([Problem(path=path, message=message)])
