"""Tokens and certificates of listeners, and of calls to other instances, renewed when their files change."""

from typing import TypeVar

from mpsd.admin.daemon import Steerable
from mpsd.admin.fleet import Fleet, peer_credentials
from mpsd.config import Admin, Config, Listener, ListenerTls
from mpsd.listeners.grpc import GrpcCertificates
from mpsd.listeners.tls import peer_context, server_context
from mpsd.listeners.tokens import Tokens, load_tokens
from mpsd.service.reload import Reloads
from mpsd.tls import LiveContext

Value = TypeVar("Value")


def watch_tokens(reloads: Reloads, config: Config, table: str) -> Tokens | None:
    """Return who may call a listener, by its tokens file; None without one.

    Raises:
        ConfigError: the file cannot be used.
    """
    if _listener(config, table).tokens_file is None:
        return None
    return reloads.watch(
        (table, "tokens_file"),
        lambda loaded: _given(_listener(loaded, table).tokens_file),
        config,
        lambda watched: load_tokens(table, watched.part, config.names),
        lambda tokens, file: tokens.adopt(load_tokens(table, file, config.names)),
    ).user


def watch_http_tls(reloads: Reloads, config: Config) -> LiveContext | None:
    """Return the encryption of the HTTP listener; None without.

    Raises:
        ConfigError: a file cannot be used.
    """
    if config.http.tls is None:
        return None
    return reloads.watch(
        ("http", "tls"),
        lambda loaded: _given(loaded.http.tls),
        config,
        lambda watched: LiveContext(server_context("http", watched.part)),
        lambda context, tls: context.exchange(server_context("http", tls)),
    ).user


def watch_http_peers(reloads: Reloads, config: Config) -> LiveContext | None:
    """Return how the HTTP listeners of other instances are called; None in plain text.

    Raises:
        ConfigError: a file cannot be used.
    """

    def of(loaded: Config) -> tuple[ListenerTls, str | None]:
        return _given(loaded.http.tls), loaded.http.peers_ca

    if config.http.tls is None:
        return None
    return reloads.watch(
        ("http", "peers"),
        of,
        config,
        lambda watched: LiveContext(peer_context("http", *watched.part)),
        lambda context, part: context.exchange(peer_context("http", *part)),
        covers=[("http", "peers_ca")],
    ).user


def watch_grpc_tls(reloads: Reloads, config: Config, table: str) -> GrpcCertificates | None:
    """Return the encryption of a gRPC listener; None without.

    Raises:
        ConfigError: a file cannot be used.
    """
    if _listener(config, table).tls is None:
        return None
    return reloads.watch(
        (table, "tls"),
        lambda loaded: _given(_listener(loaded, table).tls),
        config,
        lambda watched: GrpcCertificates(table, watched.part),
        GrpcCertificates.renew,
    ).user


def watch_fleet(reloads: Reloads, config: Config, daemon: Steerable) -> Fleet:
    """Return the other instances, which are called with the certificates of the time.

    Raises:
        ConfigError: a file cannot be used.
    """

    def of(loaded: Config) -> Admin:
        return config.admin.model_copy(
            update={"tls": loaded.admin.tls, "peers_ca": loaded.admin.peers_ca, "tokens_file": None}
        )

    def made(admin: Admin) -> Fleet:
        return Fleet(daemon, admin.peer_timeout_s, peer_credentials(admin))

    if config.admin.tls is None and config.admin.peers_ca is None:
        return made(config.admin)
    return reloads.watch(
        ("admin", "peers"),
        of,
        config,
        lambda watched: made(watched.part),
        lambda fleet, admin: fleet.renew(peer_credentials(admin)),
        covers=[("admin", "peers_ca")],
    ).user


def _listener(config: Config, table: str) -> Listener:
    listeners: dict[str, Listener] = {"admin": config.admin, "http": config.http, "stream": config.stream}
    return listeners[table]


def _given(value: Value | None) -> Value:
    """Return the value; what a new configuration lacks cannot be exchanged."""
    if value is None:
        raise LookupError
    return value
