"""One POST to another instance.

A connection for each, as they come by the lease and not by the record, and h11, which the listener has loaded anyhow.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple

import h11

from mpsd.config.values import split_address

HEAD_BYTES_MAX = 16_384
_CHUNK_BYTES = 262_144


class PeerAnswer(NamedTuple):
    """An answer of another instance; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class PeerError(Exception):
    """The other instance did not answer, or not with what it should."""


class PeerClient:
    """A client for POST requests to other instances.

    Args:
        tls: how the listeners of all of them are encrypted; None if they are not.
        body_bytes_max: of an answer.
    """

    def __init__(self, tls: ssl.SSLContext | None, body_bytes_max: int) -> None:
        self._tls = tls
        self._body_bytes_max = body_bytes_max

    async def post(
        self, address: str, target: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> PeerAnswer:
        """Send a POST; cancelled, it cuts the connection, so that the other side knows that nobody waits.

        Raises:
            PeerError: there is no whole answer within the time and the bound.
        """
        try:
            async with asyncio.timeout(timeout_s):
                host, port = split_address(address)
                reader, writer = await asyncio.open_connection(host, port, ssl=self._tls)
                try:
                    return await self._exchange(reader, writer, address, target, headers, body)
                finally:
                    writer.transport.abort()
        except (OSError, ValueError, h11.ProtocolError) as error:  # TimeoutError is an OSError
            raise PeerError(f"{address}: {str(error) or type(error).__name__}") from error

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> PeerAnswer:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        given = {"host": address, "connection": "close", "content-length": str(len(body)), **headers}
        for event in (
            h11.Request(method="POST", target=target, headers=list(given.items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        status, answered, parts, size = 0, dict[str, str](), list[bytes](), 0
        while True:
            match connection.next_event():
                case h11.NEED_DATA:
                    connection.receive_data(await reader.read(_CHUNK_BYTES))
                case h11.Response(status_code=status, headers=pairs):
                    answered = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
                case h11.Data(data=data):
                    size += len(data)
                    if size > self._body_bytes_max:
                        raise PeerError(f"{address}: answered with more than {self._body_bytes_max} bytes")
                    parts.append(bytes(data))
                case h11.EndOfMessage():
                    return PeerAnswer(status, answered, b"".join(parts))
                case h11.ConnectionClosed():
                    raise PeerError(f"{address}: ended the connection without an answer")
                case _:
                    pass
