"""Several daemons in one group: partitions change hands, and nothing is lost, repeated, out of order or twice at a time."""

import asyncio
import itertools
import signal
from pathlib import Path

import pytest

from mpsd.demo.guarantees.events import DeliveryStarted
from tests.integration.world import Answer, Application, Daemon, Message, Request, World, keyed, until
from tests.integration.world.certificates import Certificates
from tests.integration.world.gate import Gate

pytestmark = pytest.mark.integration

PARTITIONS = 8
KEYS = 200
WORK = Answer(after_s=0.005)


async def assigned(*daemons: Daemon) -> list[int]:
    """Return the number of partitions of each daemon; leaving partitions count for nobody."""
    metrics = [await daemon.metrics() for daemon in daemons]
    return [int(one.sum("mps_partition_state", state="running")) for one in metrics]


async def shared(*daemons: Daemon) -> None:
    """Wait until every partition has one of the daemons, as evenly as can be."""

    async def is_even() -> bool:
        counts = await assigned(*daemons)
        return sum(counts) == PARTITIONS and max(counts) - min(counts) <= 1

    await until(is_even, f"{len(daemons)} daemons share the partitions", every_s=0.1)


FEW_KEYS = 48
"""Fewer than there are slots, so that every partition has deliveries in flight, whichever is read first."""


async def test_a_partition_is_handed_on_when_its_slow_deliveries_have_ended(world: World) -> None:
    topic = await world.create_topic(PARTITIONS)
    world.application.hold_all()
    subscription = world.subscription(topic, delivery={"timeout_s": 20.0}, rebalance={"drain_timeout_s": 25.0})
    one = await world.start_daemon(subscription)
    messages = [keyed(number, FEW_KEYS)._replace(partition=number % PARTITIONS) for number in range(10 * FEW_KEYS)]
    await world.produce(topic, messages)
    await until(lambda: world.application.held == FEW_KEYS, "one of each key is there")
    assert {request.record.partition for request in world.application.holding()} == set(range(PARTITIONS))
    epochs_before = {request.epoch for request in world.application.holding()}
    two = await world.start_daemon(subscription)

    async def is_leaving() -> bool:
        return (await one.metrics()).sum("mps_partition_state", state="draining") == PARTITIONS // 2

    await until(is_leaving, "half of the partitions are to move, and wait for their deliveries")
    assert await assigned(one, two) == [PARTITIONS // 2, 0]
    epochs: dict[int, set[int]] = {}

    def note(request: Request) -> Answer:
        epochs.setdefault(request.record.partition, set()).add(request.epoch)
        return Answer()

    world.application.behaviour = note
    world.application.release()
    await shared(one, two)
    await world.settled(topic)
    moved = [partition for partition, seen in epochs.items() if max(seen) > max(epochs_before)]
    assert len(moved) == PARTITIONS // 2, "the moved ones have a higher epoch, the others theirs"
    assert set(world.application.accepted.values()) == {1}
    await world.judge(topic)


async def test_a_frozen_daemon_starts_nothing_when_it_thaws(world: World) -> None:
    topic = await world.create_topic(PARTITIONS)
    world.application.behaviour = lambda _: WORK
    quick = {"session_timeout_ms": 1_500, "rebalance_timeout_ms": 1_500, "heartbeat_interval_ms": 100}
    one, two = await asyncio.gather(*(world.start_daemon(world.subscription(topic), kafka=quick) for _ in range(2)))
    async with world.producing(topic, keys=KEYS, per_s=600):
        await shared(one, two)
        two.signal(signal.SIGSTOP)
        await shared(one)
        world.given_up()
        two.signal(signal.SIGCONT)
        await shared(one, two)
    await world.settled(topic)
    assert [await daemon.stop() for daemon in (one, two)] == [0, 0]
    starts = [event.at_s for event in world.application.events if isinstance(event, DeliveryStarted)]
    assert max(later - earlier for earlier, later in itertools.pairwise(starts)) < 5.0
    await world.judge(topic, repeated_s=quick["session_timeout_ms"] / 1_000 + 1.5)


async def test_more_daemons_than_partitions_are_ready_too(world: World) -> None:
    topic = await world.create_topic()
    daemons = await asyncio.gather(*(world.start_daemon(world.subscription(topic)) for _ in range(2)))

    async def one_has_it() -> bool:
        return sorted(await assigned(*daemons)) == [0, 1]

    await until(one_has_it, "one has the partition")
    assert [(await daemon.get("/readyz"))[0] for daemon in daemons] == [200, 200]


async def test_a_connection_that_opens_after_the_lease_is_over_carries_nothing(world: World, tmp_path: Path) -> None:
    """A daemon is frozen in the middle of a TLS handshake; meanwhile its partition, and the record, become another's."""
    made = Certificates(tmp_path)
    topic = await world.create_topic(2)
    async with Application(tls=made.server_context()) as application, Gate(application.port) as gate:
        application.hold_all()
        url = f"https://127.0.0.1:{gate.port}/records"
        delivery = {"url": url, "tls": made.client(), "connect_timeout_s": 20.0}
        quick = {"session_timeout_ms": 1_500, "rebalance_timeout_ms": 1_500, "heartbeat_interval_ms": 100}
        one, two = await asyncio.gather(
            *(world.start_daemon(world.subscription(topic, delivery=delivery), kafka=quick) for _ in range(2))
        )

        async def is_shared() -> bool:
            return await assigned(one, two) == [1, 1]

        await until(is_shared, "each has a partition")
        gate.close()
        await world.produce(topic, [Message(f"k{number}".encode(), b"", partition=number) for number in range(2)])
        await until(lambda: gate.waiting == 2, "both have begun to connect")
        two.signal(signal.SIGSTOP)
        gate.open()

        async def is_alone() -> bool:
            return await assigned(one) == [2]

        await until(is_alone, "one has both partitions")
        await until(lambda: application.held == 2, "one has delivered both records")
        two.signal(signal.SIGCONT)
        await until(lambda: two.said(": lost;"), "two knows that it has lost its partition")
        assert application.held == application.requests == 2
        application.heal()
        await world.settled(topic)
        await world.judge(topic, applications=[application])
