"""Leads connections between a TCP port and a Unix socket, which crosses the border of a network namespace.

python relay.py LISTEN_PORT SOCKET_PATH    listens on every address of the namespace that it runs in
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
_CHUNK_BYTES = 65_536


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connect: Connect) -> None:
    """Pass on what either side says, until one of them ends."""
    try:
        behind_reader, behind_writer = await connect()
    except OSError:
        writer.transport.abort()
        return
    tasks = [asyncio.create_task(_copy(*each)) for each in ((reader, behind_writer), (behind_reader, writer))]
    try:
        with suppress(asyncio.CancelledError):  # at the end of the test; the library's callback cannot bear it
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in (behind_writer, writer):
            each.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()


async def main(port: int, path: str) -> None:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay(reader, writer, lambda: asyncio.open_unix_connection(path))

    server = await asyncio.start_server(take, "0.0.0.0", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
