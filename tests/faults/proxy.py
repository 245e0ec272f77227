"""A way to a broker that can be cut, slowed and silenced. The broker advertises it, so that no client goes around it."""

import asyncio
from contextlib import suppress
from typing import Self

from mpsd.demo.broker.ports import LOOPBACK

CHUNK = 16_384


class Proxy:
    """Use it with `async with`.

    Args:
        port: where clients come.
        target: where the broker listens.

    Attributes:
        bytes_per_s: of each connection and direction; 0: as fast as it goes.
        is_open: whether connections are accepted; those that exist stay.
    """

    def __init__(self, port: int, target: int) -> None:
        self._port = port
        self._target = target
        self._pipes: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.bytes_per_s = 0
        self.is_open = True
        self.connections = 0
        self._lost = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Every connection that exists is reset."""
        pipes = list(self._pipes)
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)

    def lose(self) -> None:
        """Every connection that exists stays open and carries nothing any more; new ones work."""
        self._lost = self.connections

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        self.connections += 1
        try:
            if self.is_open:
                await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # cut; a server that sees its handler cancelled would complain
        finally:
            self._pipes.discard(task)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target)
            number = self.connections
            ways = [
                asyncio.create_task(self._pump(reader, far_writer, number)),
                asyncio.create_task(self._pump(far_reader, writer, number)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if number <= self._lost:
                    continue
                if self.bytes_per_s:
                    await asyncio.sleep(len(data) / self.bytes_per_s)
                writer.write(data)
                await writer.drain()
