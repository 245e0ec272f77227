"""Batches on a real broker: partial failures, poison in the middle of requests, and a kill in full flow."""

import pytest

from tests.integration.world import World, keyed, until
from tests.integration.world.batch_application import BatchApplication

pytestmark = pytest.mark.integration

BACKLOG = 4_000
KEYS = 120
QUICK = {"session_timeout_ms": 2_500, "rebalance_timeout_ms": 2_500}
REPEATED_S = 1.0


def batches(application: BatchApplication, keys: str) -> dict[str, object]:
    return {"url": application.url, "concurrency_max": 4, "batch": {"records_max": 50, "keys": keys}}


def moody(value: bytes, attempt: int) -> str:
    """Return the answer to a record: some fail at first, some for good, and a few spoil their whole request."""
    number = int(value)
    if number % 500 == 250:
        return "422"
    if number % 97 == 5:
        return "dead-letter"
    return "retry" if number % 31 == 7 and attempt == 1 else ""


@pytest.mark.parametrize("keys", ["distinct", "runs"])
async def test_every_record_of_a_batch_comes_to_its_own_end(world: World, keys: str) -> None:
    topic = await world.create_topic(4)
    await world.produce(topic, [keyed(number, KEYS) for number in range(BACKLOG)])
    async with BatchApplication(moody, work_s=0.01) as application:
        daemon = await world.start_daemon(world.subscription(topic, delivery=batches(application, keys)))
        await world.settled(topic)
        assert await daemon.stop() == 0
        dead_letters = {int(dead_letter.value or b"") for dead_letter in await world.dead_letters(topic)}
        assert dead_letters == {number for number in range(BACKLOG) if moody(b"%d" % number, 2)}
        assert set(application.accepted.values()) == {1}
        assert len(application.accepted) == BACKLOG - len(dead_letters)
        assert max(application.sizes) == 50
        assert bool(application.runs) is (keys == "runs")
        await world.judge(topic, applications=[application])


@pytest.mark.parametrize("keys", ["distinct", "runs"])
async def test_a_kill_in_full_flow_loses_nothing_and_repeats_little(world: World, keys: str) -> None:
    topic = await world.create_topic(4)
    await world.produce(topic, [keyed(number, KEYS) for number in range(BACKLOG)])
    async with BatchApplication(moody, work_s=0.05) as application:
        told = world.subscription(topic, delivery=batches(application, keys))
        daemon = await world.start_daemon(told, kafka=QUICK)
        await until(lambda: len(application.accepted) > BACKLOG // 3, "it is in full flow")
        await world.kill(daemon)
        assert len(application.accepted) < BACKLOG * 9 // 10, "it was killed in full flow"
        daemon = await world.start_daemon(told, kafka=QUICK)
        await world.settled(topic)
        assert await daemon.stop() == 0
        await world.judge(topic, applications=[application], repeated_s=REPEATED_S)
