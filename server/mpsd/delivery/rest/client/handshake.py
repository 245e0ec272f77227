"""A TLS handshake without a request: the protocol and the certificate of the endpoint, or the reason of a failure."""

import asyncio
import ssl
from dataclasses import dataclass

from mpsd.delivery.rest.client.endpoint import Endpoint

ALERT_WAIT_S = 0.5
"""With TLS 1.3 a server that wants a client certificate says so only after the handshake: so long it is waited for."""
NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "PACKET_LENGTH_TOO_LONG"})
_WANTS_CERTIFICATE = frozenset({"TLSV13_ALERT_CERTIFICATE_REQUIRED"})
_REFUSES_CERTIFICATE = (
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_UNKNOWN_CA",
    "ALERT_ACCESS_DENIED",
)
_VERSIONS = ("ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "WRONG_SSL_VERSION")
_WANTS = "the server wants a client certificate: name one in delivery.tls.cert"
_OTHER_NAME = "the endpoint's certificate is of another name ({}): correct the host of the URL, or the certificate"
_SELF_SIGNED = "the endpoint's certificate is signed by itself: name it, or its authority, in delivery.tls.ca"
_UNKNOWN = "no trusted authority signed the endpoint's certificate ({}): name its authority in delivery.tls.ca"
_CERTIFICATES = {
    2: _UNKNOWN,
    9: "the endpoint's certificate is not valid yet: look at its dates and at the clock of this machine",
    10: "the endpoint's certificate has expired: renew it",
    18: _SELF_SIGNED,
    19: _SELF_SIGNED,
    20: _UNKNOWN,
    21: _UNKNOWN,
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
"""By OpenSSL's number, with its own words in the braces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """A handshake that succeeded.

    Attributes:
        version: of the protocol, such as `TLSv1.3`.
        expires_s: when the endpoint's certificate expires, seconds since the epoch.
    """

    version: str
    expires_s: float


async def shake_hands(endpoint: Endpoint, context: ssl.SSLContext, timeout_s: float) -> Handshake:
    """Connect, shake hands and hang up; no byte of a request is sent.

    Raises:
        TimeoutError: no connection, or no end of the handshake, within `timeout_s`.
        OSError: there is no connection, or the handshake failed; `describe_failure` says why.
    """
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(
            endpoint.host,
            endpoint.port,
            ssl=context,
            server_hostname=endpoint.host,
            ssl_handshake_timeout=timeout_s,
            ssl_shutdown_timeout=ALERT_WAIT_S,
        )
    try:
        session = writer.get_extra_info("ssl_object")
        certificate = writer.get_extra_info("peercert")
        try:
            async with asyncio.timeout(min(ALERT_WAIT_S, timeout_s)):
                if not await reader.read(1):
                    raise ConnectionResetError("the server ended the connection right after the handshake")
        except TimeoutError:
            pass
        return Handshake(version=session.version(), expires_s=ssl.cert_time_to_seconds(certificate["notAfter"]))
    finally:
        writer.transport.abort()


def describe_failure(error: Exception, *, has_certificate: bool) -> str:
    """Describe why a handshake failed and what to do about it.

    Args:
        has_certificate: a client certificate is configured.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _describe_certificate(error)
    reason = getattr(error, "reason", None) or ""
    if reason in NO_TLS:
        return "the port does not speak TLS: the URL should perhaps begin with http://"
    if reason in _WANTS_CERTIFICATE or (reason.endswith("ALERT_HANDSHAKE_FAILURE") and not has_certificate):
        return _WANTS
    if reason.endswith(_REFUSES_CERTIFICATE):
        name = reason.partition("ALERT_")[2].replace("_", " ").lower()
        return f"the server refuses the client certificate of delivery.tls.cert ({name})" if has_certificate else _WANTS
    if reason.endswith(_VERSIONS):
        return "the server speaks no version of TLS that is accepted here (1.2 or 1.3)"
    if isinstance(error, ConnectionError | ssl.SSLEOFError):
        perhaps = "" if has_certificate else "; it may want a client certificate (delivery.tls.cert)"
        return f"the server ended the handshake without a reason{perhaps}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _describe_certificate(error: ssl.SSLCertVerificationError) -> str:
    template = _CERTIFICATES.get(error.verify_code, "the endpoint's certificate is not accepted: {}")
    return template.format(error.verify_message.rstrip("."))
