"""An HTTP server that does to each connection, byte for byte, what a test says."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.conformance.watch import Watch


@dataclass(slots=True, kw_only=True)
class Request:
    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given.lower() == name.lower()]


class Peer:
    """The server's end of one connection.

    Attributes:
        number: 0 for the first connection of the server.
    """

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def head(self) -> Request:
        """Return the next request up to its body.

        Raises:
            EOFError: there is none.
        """
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = [line.split(": ", maxsplit=1) for line in lines[1:] if line]
        return Request(line=lines[0], headers=[(name, value) for name, value in headers], body=b"")

    async def request(self) -> Request:
        request = await self.head()
        request.body = await self.reader.readexactly(int(request.header("content-length") or 0))
        return request

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int = 200, *headers: str, body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
        await self.send("\r\n".join(lines).encode() + body)

    def reset(self) -> None:
        """End the connection with RST instead of FIN."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the other side has ended the connection."""
        with suppress(OSError):
            while await self.reader.read(65_536):
                pass


Script = Callable[[Peer], Awaitable[None]]


class HttpServer:
    """Runs a script on each connection; a connection ends with its script.

    Attributes:
        connections: so far.
        open: now.
        open_max: the most at a time.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.open = 0
        self.open_max = 0
        self.watch = Watch()

    async def start(self, *, port: int = 0, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> int:
        """Start to listen; return the port."""
        self._server = await asyncio.start_server(self._serve, host, port, ssl=tls, limit=1 << 20)
        return int(self._server.sockets[0].getsockname()[1])

    def stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        self.stop_listening()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        peer = Peer(self.connections, reader, writer)
        self.connections += 1
        self.open += 1
        self.open_max = max(self.open, self.open_max)
        self.watch.changed()
        try:
            with suppress(EOFError, OSError, asyncio.CancelledError):
                await self._script(peer)
        finally:
            self.open -= 1
            self.watch.changed()
            self._running.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
