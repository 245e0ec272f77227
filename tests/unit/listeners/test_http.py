"""An HTTP listener in a loop that is not its own, and clients that do not behave."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mpsd.listeners.address import bind
from mpsd.listeners.http import Bounds, serving_http

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


@asynccontextmanager
async def connected(
    app: ASGIApp = hello, bounds: Bounds | None = None
) -> AsyncIterator[Callable[[], Awaitable[Streams]]]:
    """Serve the application; yield a function that opens a connection to it."""
    listener = bind("http", "127.0.0.1:0")
    address = listener.getsockname()
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> Streams:
        streams = await asyncio.open_connection(*address)
        opened.append(streams[1])
        return streams

    async with serving_http(app, listener, bounds=bounds or Bounds()):
        try:
            yield connect
        finally:
            for writer in opened:
                writer.transport.abort()


async def test_it_answers_and_keeps_the_connection() -> None:
    async with connected() as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
            assert b"server:" not in head
            assert await reader.readexactly(5) == b"hello"


def test_it_answers_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_it_answers_and_keeps_the_connection())
        runner.run(test_a_request_that_never_ends_is_cut_off())


async def test_signals_and_logging_stay_as_they_were() -> None:
    def now() -> tuple[object, ...]:
        handlers = [logging.getLogger(name).handlers[:] for name in ("", "uvicorn", "uvicorn.error")]
        return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), handlers

    before = now()
    async with connected():
        assert now() == before


async def test_the_port_is_free_behind_the_context_and_no_task_is_left() -> None:
    listener = bind("http", "127.0.0.1:0")
    address = listener.getsockname()
    async with serving_http(hello, listener):
        pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_request_that_never_ends_is_cut_off() -> None:
    async with connected(bounds=Bounds(request_s_max=0.05)) as connect:
        for begun in (
            b"",
            b"GET / HT",
            b"GET / HTTP/1.1\r\nhost: x\r\nx-",
            b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc",
        ):
            reader, writer = await connect()
            writer.write(begun)
            with suppress(ConnectionResetError):
                await reader.read()  # ends, as the connection does


async def test_an_answer_that_nobody_takes_is_cut_off() -> None:
    cut = asyncio.Event()

    async def big(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 16_000_000, "more_body": True})
        assert await receive() == {"type": "http.disconnect"}
        cut.set()

    async with connected(big, Bounds(stall_s_max=0.05)) as connect:
        _, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await cut.wait()


async def test_endless_headers_are_refused() -> None:
    async with connected() as connect:
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\nx: " + b"x" * Bounds().header_bytes_max * 2)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")


async def test_connections_beyond_the_bound_are_closed() -> None:
    async with connected(bounds=Bounds(connections_max=1)) as connect:
        first_reader, first = await connect()
        first.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await first_reader.readuntil(b"hello")
        reader, _ = await connect()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        first.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await first_reader.readuntil(b"hello")
