"""The Python client at real daemons and a real Kafka: it finds all of them, follows them, and leaves without a trace."""

import asyncio
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from mps_client import DeadLetter, Record, Retry, Subscription, asgi
from mpsd.demo.broker.processes import GuardedProcesses
from tests.docs.blocks import ROOT
from tests.integration.test_shapes import SHAPES
from tests.integration.world import World, keyed, until
from tests.integration.world.streaming import StreamingApplication

pytestmark = pytest.mark.integration


def streamed(world: World, topic: str, **delivery: Any) -> dict[str, Any]:
    given = world.subscription(topic)
    return {**given, "delivery": {"protocol": "stream", **delivery}}


async def test_a_client_of_one_address_is_served_by_every_daemon(world: World) -> None:
    topic = await world.create_topic(4)

    async def choosy(record: Record) -> None:
        await asyncio.sleep(0)
        number = int(record.value or b"0")
        if number % 100 == 7:
            raise DeadLetter("a seven")
        if number % 100 == 13 and record.attempt < 3:
            raise Retry("unlucky", after_s=0.01)

    daemons = [await world.start_daemon(streamed(world, topic)) for _ in range(2)]
    async with StreamingApplication([daemons[0].stream_address], choosy) as application:
        await until(lambda: application.open_streams == 2, "it has found both daemons")
        await world.produce(topic, [keyed(number, 100) for number in range(2_000)])
        await world.settled(topic)
        for daemon in daemons:
            assert (await daemon.metrics()).sum("mps_deliveries_total", outcome="delivered") > 0
        assert await daemons[0].stop() == 0
        await until(lambda: len(application.records.statistics().daemons) == 1, "it does not dial who has left")
        daemons.append(await world.start_daemon(streamed(world, topic)))
        await until(lambda: application.open_streams == 2, "it has found who has joined")
        await world.produce(topic, [keyed(number, 100) for number in range(500)])
        await world.settled(topic)
    dead_letters = await world.dead_letters(topic)
    assert len(dead_letters) == 20 + 5
    assert set(application.accepted.values()) == {1}
    assert len(application.accepted) == 2_500 - 25
    await world.judge(topic, applications=[application])


async def test_a_handler_sees_the_same_records_whichever_way_they_come(world: World) -> None:
    """Records have every shape. HTTP has no upper and lower case in names of headers, and no null as their value."""
    topic = await world.create_topic(max_message_bytes=str(2 << 20))
    sent = await world.produce(topic, SHAPES.values())
    seen: dict[str, dict[int, tuple[Any, ...]]] = {"stream": {}, "single": {}, "batch": {}}

    def noting(way: str) -> Callable[[Record], Awaitable[None]]:
        async def note(record: Record) -> None:
            names = [(name.lower(), value) for name, value in record.headers]
            place = record.topic, record.idempotency_key, record.attempt, record.epoch, record.timestamp_ms
            seen[way][record.offset] = record.key, record.value, names, place

        return note

    async with serving(asgi(noting("single"))) as single, serving(asgi(noting("batch"))) as batch:
        ways: dict[str, dict[str, Any]] = {
            "stream": {"protocol": "stream"},
            "single": {"protocol": "rest", "url": single},
            "batch": {"protocol": "rest", "url": batch, "batch": {"records_max": 50, "keys": "runs"}},
        }
        subscriptions = []
        for way, delivery in ways.items():
            given = world.subscription(topic, name=way, group=f"{topic}-{way}")
            dead_letters = {**given["dead_letter"], "topic": f"{topic}.{way}.dlq"}
            subscriptions.append({**given, "delivery": delivery, "dead_letter": dead_letters})
        daemon = await world.start_daemon(*subscriptions)
        async with Subscription("stream", daemon.stream_address) as records:
            work = asyncio.create_task(_loop(records, noting("stream")))
            for way in ways:
                await world.settled(topic, group=f"{topic}-{way}")
            records.stop()
            await work
    for shape, record in zip(SHAPES, sent, strict=True):
        key, value, names, place = seen["stream"][record.offset]
        assert (key, value) == (record.key, record.value), shape
        assert names == [(name.lower(), value) for name, value in record.headers or ()], shape
        assert place[0] == topic
        assert seen["single"][record.offset] == seen["stream"][record.offset], shape
        assert seen["batch"][record.offset] == seen["stream"][record.offset], shape


async def _loop(records: Subscription, handler: Callable[[Record], Awaitable[None]]) -> None:
    async for record in records:
        async with record:
            await handler(record)


@asynccontextmanager
async def serving(application: Any) -> AsyncIterator[str]:
    """Serve the application at a URL, by uvicorn."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, lifespan="on", log_level="warning"))
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        await task


async def test_when_a_daemon_is_killed_the_others_carry_on(world: World) -> None:
    topic = await world.create_topic(4)
    first, second = [await world.start_daemon(streamed(world, topic)) for _ in range(2)]
    async with StreamingApplication([first.stream_address], concurrency=16) as application:
        await until(lambda: application.open_streams == 2, "it has found both daemons")
        async with world.producing(topic, keys=50, per_s=1_000):
            await until(lambda: len(application.accepted) > 500, "records flow")
            await world.kill(first)
            count = len(application.accepted)
            await until(lambda: len(application.accepted) > count + 1_500, "records flow on")
        await world.settled(topic)
    assert await second.stop() == 0
    await world.judge(topic, applications=[application], repeated_s=2.0)


async def test_a_service_that_gets_sigterm_leaves_nothing_to_repeat(world: World, tmp_path: Path) -> None:
    topic = await world.create_topic(2)
    daemon = await world.start_daemon(streamed(world, topic))
    with closing(GuardedProcesses()) as processes:

        def start(name: str) -> None:
            argv = ["env", f"BILLS={tmp_path}/bills", sys.executable, str(ROOT / "examples/python/billing.py")]
            processes.start(name, [*argv, "orders", daemon.stream_address], log=tmp_path / name)

        async with world.producing(topic, keys=40, per_s=2_000, value=b'{"amount": 5}'):
            start("first")
            await until(lambda: billed(tmp_path) > 500, "bills are written")
            processes.signal("first", signal.SIGTERM)
            await until(lambda: processes.exit_code("first") is not None, "it has ended")
        assert processes.exit_code("first") == 0, (tmp_path / "first").read_text()
        start("second")
        await world.settled(topic)
        metrics = await daemon.metrics()
    records = sum((await world.kafka.topics.log_end(topic)).values())
    assert billed(tmp_path) == records
    assert metrics.sum("mps_deliveries_total", outcome="delivered") == records
    assert metrics.sum("mps_dead_letters_total") == 0


def billed(directory: Path) -> int:
    path = directory / "bills"
    if not path.exists():
        return 0
    database = sqlite3.connect(path)
    try:
        (count,) = database.execute("SELECT count(*) FROM bills").fetchone()
        return int(count)
    except sqlite3.OperationalError:  # it is being made
        return 0
    finally:
        database.close()
