"""The Python client at real daemons and a real Kafka: it finds all of them, follows them, and leaves without a trace."""

import asyncio
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mps_client import DeadLetter, Record, Retry
from mpsd.demo.broker.processes import GuardedProcesses
from tests.docs.blocks import ROOT
from tests.integration.world import Message, World, keyed, until
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
    letters = await world.dead_letters(topic)
    assert len(letters) == 20 + 5
    assert set(application.accepted.values()) == {1}
    assert len(application.accepted) == 2_500 - 25
    await world.judge(topic, applications=[application])


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
    await world.produce(topic, [Message(b"k%d" % (number % 40), b'{"amount": 5}') for number in range(4_000)])
    with closing(GuardedProcesses()) as processes:
        for turn in range(2):
            name = f"billing-{turn}"
            argv = ["env", f"BILLS={tmp_path}/bills", sys.executable, str(ROOT / "examples/python/billing.py")]
            processes.start(name, [*argv, "orders", daemon.stream_address], log=tmp_path / name)
            if turn == 0:
                await until(lambda: billed(tmp_path) > 500, "bills are written")
                processes.signal(name, signal.SIGTERM)
                await until(lambda: processes.exit_code("billing-0") is not None, "it has ended")
                assert processes.exit_code(name) == 0, (tmp_path / name).read_text()
                assert billed(tmp_path) < 4_000
        await world.settled(topic)
        metrics = await daemon.metrics()
    assert billed(tmp_path) == 4_000
    assert metrics.sum("mps_deliveries_total", outcome="delivered") == 4_000
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
