"""An HTTP client for callers of a listener: one connection, kept alive, and nothing hidden."""

import asyncio
import json
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit


class Answer(NamedTuple):
    """Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """Use it with `async with`; a request that is cancelled cuts the connection."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """End the connection at once, in the middle of whatever goes on."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            host, _, port = self.address.rpartition(":")
            self._streams = await asyncio.open_connection(host, int(port), limit=1 << 20)
        return self._streams

    async def post(self, target: str, message: object = None, **headers: str) -> Answer:
        """Post JSON, or bytes as they are, to a path or URL."""
        body = message if isinstance(message, bytes) else b"" if message is None else json.dumps(message).encode()
        return await self.request("POST", target, body, **headers)

    async def request(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        try:
            return await self._request(method, target, body, headers)
        except BaseException:
            self.cut()
            raise

    async def _request(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Answer:
        reader, writer = await self.streams()
        path = urlsplit(target)._replace(scheme="", netloc="").geturl()
        named = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
        head = f"{method} {path} HTTP/1.1\r\nhost: {self.address}\r\ncontent-length: {len(body)}\r\n{named}\r\n"
        writer.write(head.encode() + body)
        return await self.answer(reader)

    async def answer(self, reader: asyncio.StreamReader) -> Answer:
        """Read the answer to the request that was sent.

        Raises:
            EOFError, OSError: the connection ended instead.
        """
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in rest if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.cut()
        return Answer(int(first.split()[1]), headers, body)
