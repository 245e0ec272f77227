"""A gate on the way to the application: while it is closed connections are taken, and nothing goes through."""

import asyncio
from contextlib import suppress
from typing import Self


class Gate:
    """Use it with `async with`; it is open at first.

    Args:
        port: of the loopback interface, where what goes through goes.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.waiting = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            self.waiting += 1
            await self._open.wait()
            self.waiting -= 1
            with suppress(OSError, asyncio.CancelledError):  # it is cancelled by the gate alone, when all is over
                behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
                await asyncio.gather(_pass_on(reader, behind_writer), _pass_on(behind_reader, writer))
        finally:
            self._tasks.discard(task)
            writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
