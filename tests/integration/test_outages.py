"""Records while nothing succeeds at the application, whatever it answers; only the URL is configured.

The table of `docs/explanation/guarantees.md`. `OUTAGE_S` and `RECORDS` make it longer: 20 and 10,000 are the page's.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Sized
from contextlib import asynccontextmanager, suppress

import pytest

from mps_client import DeadLetter
from mps_client import Record as StreamRecord
from mpsd.demo.guarantees.events import OutageBegan, OutageEnded
from tests.integration.world import Answer, World, keyed, until
from tests.integration.world.batch_application import BatchApplication
from tests.integration.world.patience import PATIENCE_S
from tests.integration.world.pulling import PullingApplication
from tests.integration.world.streaming import StreamingApplication

pytestmark = pytest.mark.integration

OUTAGE_S = float(os.environ.get("OUTAGE_S", "2"))
RECORDS = int(os.environ.get("RECORDS", "1000"))
KEYS = 200
REJECTIONS_MAX = 100
"""The default of `breaker.rejections_max`."""
SLICE_S = 0.1

FAILURES = (500, 408, 503, 429, 404, 301)
"""One at least of each row of the contract that is not about the record."""
REFUSALS = (400, 422)
STRANGERS = {
    "a Redis": b"-ERR unknown command 'POST'\r\n",
    "a server of HTTP/2 only": b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64",
    "nobody who says anything": b"",
}


class Incident:
    """A subscription of which only the URL is set, and records that go on arriving."""

    def __init__(self, world: World, topic: str) -> None:
        self.world = world
        self.topic = topic
        self.produced = 0

    async def produce(self, share: float, over_s: float) -> None:
        """Let a share of the records arrive, evenly over a time."""
        count = round(RECORDS * share)
        slices = max(1, round(over_s / SLICE_S))
        for number in range(slices):
            end = self.produced + (count * (number + 1)) // slices - (count * number) // slices
            await self.world.produce(self.topic, [keyed(n, KEYS) for n in range(self.produced, end)])
            self.produced = end
            await asyncio.sleep(over_s / slices)

    async def dead(self) -> int:
        return len(await self.world.dead_letters(self.topic))


@asynccontextmanager
async def incident(world: World, accepted: Sized | None = None, **delivery: object) -> AsyncIterator[Incident]:
    """All is well before, and afterwards, with a quarter of the records each; all that lives is delivered in the end."""
    topic = await world.create_topic(4)
    at = Incident(world, topic)
    subscription = world.subscription(topic, delivery=delivery)
    del subscription["retry"], subscription["breaker"]
    await world.start_daemon(subscription)
    await at.produce(0.25, SLICE_S)
    seen = world.application.accepted if accepted is None else accepted
    await until(lambda: len(seen) == at.produced, "the first are accepted")
    world.application.events.append(OutageBegan(time.monotonic()))
    yield at
    world.application.events.append(OutageEnded(time.monotonic()))
    await at.produce(0.25, SLICE_S)
    await world.settled(topic, timeout_s=PATIENCE_S + OUTAGE_S)
    print(f"{RECORDS:,} records, {OUTAGE_S:g} s: {await at.dead()} dead, {world.application.requests} requests")


async def answered(at: Incident, answer: Callable[[], Answer]) -> None:
    """All are answered so for the time of the outage, in which half of the records arrive."""
    at.world.application.behaviour = lambda _: answer()
    await at.produce(0.5, OUTAGE_S)
    at.world.application.heal()


@pytest.mark.parametrize("status", FAILURES)
async def test_a_failure_of_every_request_kills_no_record(world: World, status: int) -> None:
    async with incident(world) as at:
        await answered(at, lambda: Answer(status, "the database is down"))
    assert await at.dead() == 0
    assert len(world.application.accepted) == RECORDS
    await world.judge(at.topic)


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_stranger_at_the_port_kills_no_record(world: World, stranger: str) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STRANGERS[stranger])
        with suppress(ConnectionError):
            while await reader.read(65_536):
                writer.write(STRANGERS[stranger])
        writer.close()

    async with incident(world, timeout_s=1.0) as at:
        application = world.application
        await application.go_away()
        server = await asyncio.start_server(greet, "127.0.0.1", application.port)
        await at.produce(0.5, OUTAGE_S)
        server.close()
        await application.come_back()
    assert await at.dead() == 0
    assert len(world.application.accepted) == RECORDS


async def test_half_of_all_requests_failing_kills_no_record(world: World) -> None:
    dice = random.Random(7)
    async with incident(world) as at:
        await answered(at, lambda: Answer(500, "one of two backends is down") if dice.random() < 0.5 else Answer())
    assert await at.dead() == 0
    assert len(world.application.accepted) == RECORDS


@pytest.mark.parametrize("status", REFUSALS)
async def test_refusals_of_every_request_kill_so_many_records_and_no_more(world: World, status: int) -> None:
    async with incident(world) as at:
        await answered(at, lambda: Answer(status, "no such field"))
    assert await at.dead() == REJECTIONS_MAX
    assert len(world.application.accepted) == RECORDS - REJECTIONS_MAX
    await world.judge(at.topic)


async def test_a_poison_record_among_successes_dies_and_harms_nobody(world: World) -> None:
    """By its own attempts, which the default spreads over one to two minutes; here over less."""
    topic = await world.create_topic(2)
    poison = b"k1"
    world.application.behaviour = lambda request: Answer(500, "bad") if request.record.key == poison else Answer()
    await world.start_daemon(world.subscription(topic))
    at = Incident(world, topic)
    await at.produce(0.5, OUTAGE_S)
    await world.settled(topic)
    dead = await world.dead_letters(topic)
    assert {dead_letter.key for dead_letter in dead} == {poison}
    assert len(world.application.accepted) == at.produced - len(dead)


# The other ways to deliver


@pytest.mark.parametrize(("verdict", "dead"), [("500", 0), ("retry", 0), ("422", 100), ("dead-letter", 100)])
async def test_batches_that_all_fail_kill_no_more_than_single_records(world: World, verdict: str, dead: int) -> None:
    said = [""]
    async with BatchApplication(lambda _value, _attempt: said[0]) as application:
        async with incident(
            world, application.accepted, url=application.url, batch={"records_max": 20}, concurrency_max=4
        ) as at:
            said[0] = verdict
            await at.produce(0.5, OUTAGE_S)
            said[0] = ""
        assert await at.dead() == dead
        assert len(application.accepted) == RECORDS - dead


@pytest.mark.parametrize(
    ("error", "dead"), [(ValueError("the database is down"), 0), (DeadLetter("no such field"), 100)]
)
async def test_a_stream_that_settles_all_alike_kills_no_more(world: World, error: Exception, dead: int) -> None:
    is_ill = [False]

    async def behave(_record: StreamRecord) -> None:
        await asyncio.sleep(0)
        if is_ill[0]:
            raise error

    topic = await world.create_topic(4)
    subscription = {**world.subscription(topic), "delivery": {"protocol": "stream"}}
    del subscription["retry"], subscription["breaker"]
    daemon = await world.start_daemon(subscription)
    at = Incident(world, topic)
    async with StreamingApplication([daemon.stream_address], behave) as application:
        await at.produce(0.25, SLICE_S)
        await until(lambda: len(application.accepted) == at.produced, "the first are accepted")
        is_ill[0] = True
        await at.produce(0.5, OUTAGE_S)
        is_ill[0] = False
        await at.produce(0.25, SLICE_S)
        await world.settled(topic, timeout_s=PATIENCE_S + OUTAGE_S)
        assert await at.dead() == dead
        assert len(application.accepted) == RECORDS - dead


@pytest.mark.parametrize(("verdict", "dead"), [("retry", 0), ("dead-letter", 100), ("", 0)])
async def test_callers_that_settle_all_alike_or_not_at_all_kill_no_more(world: World, verdict: str, dead: int) -> None:
    """With no verdict all leases expire."""
    topic = await world.create_topic(4)
    subscription = {**world.subscription(topic), "delivery": {"protocol": "pull", "lease_s": 1.0}}
    del subscription["retry"], subscription["breaker"]
    daemon = await world.start_daemon(subscription)
    at = Incident(world, topic)
    async with PullingApplication([daemon.http_address]) as application:
        await at.produce(0.25, SLICE_S)
        await until(lambda: len(application.accepted) == at.produced, "the first are accepted")
        application.verdict = verdict
        await at.produce(0.5, OUTAGE_S)
        application.verdict = "ack"
        await at.produce(0.25, SLICE_S)
        await world.settled(topic, timeout_s=PATIENCE_S + OUTAGE_S)
    assert await at.dead() == dead
    assert len(application.accepted) == RECORDS - dead
