"""Keys blocked behind their dead letters, on a real Kafka: over a kill, until a replay has brought them whole and in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

import pytest

from mpsd.demo.guarantees.events import SeenRecord
from tests.integration.world import Answer, Daemon, Message, World, keyed, until
from tests.integration.world.application import Request
from tests.integration.world.mpsctl import mpsctl, seen
from tests.integration.world.world import COMMIT_INTERVAL_S, name

pytestmark = pytest.mark.integration

KEY = b"customer-17"
HOLD = {"after_dead_letter": "block"}
RATE = 200
REPEATED_S = COMMIT_INTERVAL_S + 1.0
"""Time that a kill may undo: the interval of reports, and what one takes on a busy machine: it is written, and read back."""
QUICK = {"session_timeout_ms": 2_500, "rebalance_timeout_ms": 2_500}


class Asked:
    """Requests to the application, which accepts all but one record of the key.

    Attributes:
        of_key: offsets of the key, as they came.
        takes_s: how long a record of the key takes.
    """

    def __init__(self, world: World, poison: int) -> None:
        self.of_key: list[int] = []
        self.poison: int | None = poison
        self.takes_s = 0.0
        world.application.behaviour = self._answer

    def _answer(self, request: Request) -> Answer:
        if request.record.key != KEY:
            return Answer()
        self.of_key.append(request.record.offset)
        is_poison = request.record.offset == self.poison
        return Answer(422, "no such customer") if is_poison else Answer(after_s=self.takes_s)


def mixed(count: int) -> list[Message]:
    """Every fifth is of the key."""
    messages = [[keyed(number, 30)] + ([Message(KEY, b"v")] if number % 4 == 3 else []) for number in range(count)]
    return list(chain.from_iterable(messages))


def offsets(records: list[SeenRecord]) -> list[int]:
    """Return the offsets of records of the key."""
    return [record.offset for record in records if record.key == KEY]


async def dead_letters(world: World, topic: str) -> list[tuple[int, str]]:
    """Source offset and disposition of the key's dead letters."""
    found = [dict(dead_letter.headers) for dead_letter in await world.dead_letters(topic) if dead_letter.key == KEY]
    return [(int(said["__dlq.errors.offset"] or b""), (said["mps-dlq-disposition"] or b"").decode()) for said in found]


async def blocked_keys(daemon: Daemon) -> int:
    (said,) = (await seen(daemon, "status", "orders"))["subscriptions"]
    return int(said["blocked_keys"])


async def owner_of(world: World, topic: str, partition: int) -> Daemon:
    (said,) = (await seen(world.daemons[0], "status", "orders", "--partitions"))["subscriptions"]
    (address,) = [each["instance"] for each in said["partitions"] if each["partition"] == partition]
    (owner,) = [daemon for daemon in world.daemons if daemon.admin_address == address]
    return owner


@asynccontextmanager
async def going_on(world: World, topic: str, made: list[int]) -> AsyncIterator[None]:
    """Produce records of the key until the end of the block."""
    stop = asyncio.Event()

    async def produce() -> None:
        while not stop.is_set():
            made.extend(offsets(await world.produce(topic, [Message(KEY, b"v"), keyed(len(made), 30)])))
            await asyncio.sleep(0.01)

    task = asyncio.create_task(produce())
    try:
        yield
    finally:
        stop.set()
        await task


async def test_held_over_a_kill_and_replayed_whole_and_in_order_into_the_live_records(world: World) -> None:
    topic, tables = await world.create_topic(3), control()
    first = await world.produce(topic, mixed(200))
    made = offsets(first)
    asked, partition = Asked(world, poison=made[2]), next(each.partition for each in first if each.key == KEY)
    subscription = world.subscription(topic, ordering=HOLD)
    for _ in range(3):
        await world.start_daemon(subscription, **tables)
    await world.settled(topic)
    assert asked.of_key == made[:3], "nothing of the key comes behind the one that died"
    assert await dead_letters(world, topic) == [(made[2], "rejected"), *((offset, "blocked") for offset in made[3:])]
    assert len(world.application.accepted) == len(first) - len(made) + 2, "all others flow"
    owner = await owner_of(world, topic, partition)
    await world.kill(owner)
    left = [daemon for daemon in world.daemons if daemon is not owner]
    made += offsets(await world.produce(topic, mixed(100)))
    await world.settled(topic)
    assert asked.of_key == made[:3], "it is blocked, whoever has the partition"
    assert [await blocked_keys(daemon) for daemon in left] == [1, 1]
    shown = (await mpsctl(left[0], "status")).out
    assert "1 key blocked behind dead letters" in shown, shown

    await world.judge(topic, repeated_s=COMMIT_INTERVAL_S * 5)

    asked.poison = None
    async with going_on(world, topic, made):
        replayed = await mpsctl(left[0], "replay-dlq", "orders", "--key", KEY.decode(), "--wait", "--yes")
        assert replayed.code == 0, replayed
        live = len(made)
        await until(lambda: len(made) > live + 20, "it goes on")
    await world.settled(topic)
    assert asked.of_key[3:] == made[2:], "none is missing, none is twice, and all are in order"
    await until_blocked(left[0], 0)
    there = len(await dead_letters(world, topic))
    assert there < len(made) - 2, "the last of them came without a dead letter"

    for daemon in left:
        assert await daemon.stop() == 0
    again = await world.start_daemon(subscription, **tables)
    made += offsets(await world.produce(topic, mixed(20)))
    await world.settled(topic)
    assert asked.of_key[3:] == made[2:], "it is not blocked after a restart"
    assert (await blocked_keys(again), len(await dead_letters(world, topic))) == (0, there)
    assert await again.stop() == 0
    await world.judge(topic, repeated_s=COMMIT_INTERVAL_S * 5, replayed=True)


async def test_the_dead_letter_is_skipped_and_what_was_held_behind_it_is_delivered(world: World) -> None:
    topic, tables = await world.create_topic(1), control()
    made = offsets(await world.produce(topic, mixed(40)))
    asked, died = Asked(world, poison=made[1]), f"{topic}/0@{made[1]}"
    daemon = await world.start_daemon(world.subscription(topic, ordering=HOLD), **tables)
    other = await world.start_daemon(world.subscription(topic, ordering=HOLD), **tables)
    await world.settled(topic)
    back = await mpsctl(daemon, "replay-dlq", "orders", "--to", "topic", "--yes")
    assert (back.code, "replay to the application" in back.err) == (1, True), back
    wrong = await mpsctl(other, "skip", "orders", f"{topic}/0@{made[4]}", "--reason", "ticket 9", "--yes")
    assert (wrong.code, f"{died} does" in wrong.err) == (1, True), wrong
    skipped = await seen(other, "skip", "orders", died, "--reason", "ticket 9", "--yes")
    assert (skipped["blocked_records"], skipped["dead_letter"]["offset"]) == (len(made) - 2, 0)
    await until(lambda: asked.of_key == made, "all behind it are delivered, and in order")
    await until_blocked(other, 0)
    made += offsets(await world.produce(topic, [Message(KEY, b"v")]))
    await world.settled(topic)
    assert asked.of_key == made
    replay = await seen(daemon, "replay", "show", skipped["replay_id"])
    assert (replay["succeeded_records"], replay["failed_records"]) == (len(made) - 3, 0)
    assert replay["started_reason"] == f"{died} is skipped: ticket 9"
    await world.judge(topic, replayed=True)


async def until_blocked(daemon: Daemon, count: int) -> None:
    async def holds() -> bool:
        return await blocked_keys(daemon) == count

    await until(holds, f"{count} keys are blocked")


def control() -> dict[str, dict[str, Any]]:
    return {"kafka": dict(QUICK), "control": {"topic": name("control"), "audit_topic": ""}}


@pytest.mark.parametrize("what", ["the owner is killed", "others join"])
async def test_whoever_goes_on_with_a_replay_of_a_held_key_breaks_no_order(world: World, what: str) -> None:
    topic, tables = await world.create_topic(2), control()
    first = await world.produce(topic, [Message(KEY, b"v") for _ in range(200)])
    made, partition = offsets(first), first[0].partition
    asked = Asked(world, poison=0)
    subscription = world.subscription(topic, ordering=HOLD)
    for _ in range(2):
        await world.start_daemon(subscription, **tables)
    await world.settled(topic)
    owner = await owner_of(world, topic, partition)
    (other,) = [daemon for daemon in world.daemons if daemon is not owner]
    asked.poison, asked.takes_s = None, 0.003
    async with going_on(world, topic, made):
        started = await mpsctl(other, "replay-dlq", "orders", "--key", KEY.decode(), "--rate", f"{RATE}/s", "--yes")
        assert started.code == 0, started
        await until(lambda: len(asked.of_key) > 60, "it has begun")
        if what == "the owner is killed":
            await world.kill(owner)
        else:
            for _ in range(2):
                await world.start_daemon(subscription, **tables)
        await until(lambda: len(asked.of_key) > 120, "it goes on")
    await until_blocked(other, 0)
    await world.settled(topic)
    came = list(dict.fromkeys(asked.of_key))
    assert came == made, "none is missing, and the first time that each came was in order"
    repeated = len(asked.of_key) - len(came) - 1
    assert repeated <= (RATE * REPEATED_S if what == "the owner is killed" else 0)
    await world.judge(topic, repeated_s=REPEATED_S if what == "the owner is killed" else 0.0, replayed=True)
