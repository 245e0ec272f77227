"""A plain look at a port: bytes that are sent, and what comes back, whatever it speaks."""

import asyncio
import io
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any, cast

from mpsd.delivery.rest.client.endpoint import Endpoint

BYTES_MAX = 262_144
"""Bytes of an answer that are read."""
HTTP_2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""The beginning of each HTTP/2 connection and an empty SETTINGS frame (RFC 9113, section 3.4)."""
REDIS_PING = b"PING\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*(?:\r\n|\Z)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
_SETTINGS_FRAME, _GO_AWAY_FRAME, _FRAME_HEAD_BYTES = 4, 7, 9
_TLS_RECORDS = frozenset({0x14, 0x15, 0x16})
_BANNERS: tuple[tuple[bytes, str], ...] = (
    (b"HTTP/1.", "HTTP/1.1"),
    (b"HTTP/2", "HTTP/2"),
    (b"-ERR", "Redis"),
    (b"-NOAUTH", "Redis"),
    (b"-DENIED", "Redis"),
    (b"+PONG", "Redis"),
    (b"SSH-", "SSH"),
    (b"220", "SMTP or FTP"),
    (b"+OK", "POP3"),
    (b"* OK", "IMAP"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer, whole.

    Attributes:
        headers: by name in lower case; of one that repeats the first.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


async def exchange(
    endpoint: Endpoint,
    sent: bytes,
    timeout_s: float,
    context: ssl.SSLContext | None = None,
    is_enough: Callable[[bytes], bool] = bool,
) -> bytes:
    """Connect, send, and return what comes back; empty: nothing.

    Args:
        is_enough: asked with all that came so far; else the end of the stream, `BYTES_MAX` or the time-out ends it.
    """
    received = bytearray()
    with suppress(OSError, EOFError):  # a TimeoutError and an ssl.SSLError are one, too
        async with asyncio.timeout(timeout_s):
            name = endpoint.host if context is not None else None
            reader, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=context, server_hostname=name
            )
            try:
                writer.write(sent)
                while len(received) < BYTES_MAX and (data := await reader.read(65_536)):
                    received += data
                    if is_enough(bytes(received)):
                        break
            finally:
                writer.transport.abort()
    return bytes(received)


async def speaks_tls(endpoint: Endpoint, timeout_s: float) -> bool:
    """Return True if the port shakes hands, whoever it says it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
            writer.transport.abort()
    except OSError:
        return False
    return True


def protocol_of(received: bytes) -> str:
    """Return the protocol that a port speaks, by the first bytes that it sent; empty if they tell nothing."""
    if len(received) > 2 and received[0] in _TLS_RECORDS and received[1] == 3:
        return "TLS"
    if len(received) >= _FRAME_HEAD_BYTES and received[0] == 0 and received[3] in {_SETTINGS_FRAME, _GO_AWAY_FRAME}:
        return "HTTP/2"
    if b"mysql" in received[:128].lower():
        return "MySQL"
    return next((name for banner, name in _BANNERS if received.startswith(banner)), "")


def reply_of(received: bytes) -> Reply | None:
    """Return the HTTP answer that was received; None if it is none."""
    if not received.startswith(b"HTTP/1."):
        return None
    response = HTTPResponse(cast("Any", _Received(received)), method="POST")
    try:
        response.begin()
    except (HTTPException, ValueError, OSError):
        return None
    body = b""
    with suppress(HTTPException, ValueError, OSError):  # what is cut off counts as far as it goes
        while data := response.read(65_536):
            body += data
    headers: dict[str, str] = {}
    for name, value in response.getheaders():
        headers.setdefault(name.lower(), value)
    return Reply(status=response.status, headers=headers, body=body)


def is_whole(received: bytes) -> bool:
    """Return True once the HTTP answer is all there, as far as it says how long it is; True for what is none."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1."[: len(head)]):
        return True
    if not end:
        return False
    if (length := _LENGTH.search(head)) is not None:
        return len(body) >= int(length[1])
    return _CHUNKED.search(head) is not None and body.endswith(b"0\r\n\r\n")


class _Received:
    """Received bytes, with the part of a socket's interface that `HTTPResponse` needs."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._received)
