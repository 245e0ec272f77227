"""Brokers that die, freeze, restart, or are all gone: delivery resumes by itself, and nothing is lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from mpsd.demo.broker import KafkaCluster
from tests.faults.figures import Figures
from tests.faults.fleet import REPEATED_S, SESSION_S, SOAK_MINUTES, Fleet, Quiet, lasts
from tests.integration.world import until

pytestmark = pytest.mark.integration

NODES = (1, 2, 3)
BACKLOG = 3_000
GONE_S = 60.0 if SOAK_MINUTES else 4.0
BROKERS_S = 120.0
"""Three of them may take that long to have their replicas again on a machine that does other things too."""
"""Longer than a session: the membership is over, and known to be."""


async def all_nodes(act: Callable[..., None], *nodes: int, **options: bool) -> None:
    """Do it to several brokers at once."""
    await asyncio.gather(*(asyncio.to_thread(act, node, **options) for node in nodes))


async def coordinator_of(fleet: Fleet) -> int:
    return int(await fleet.world.kafka.admin.find_coordinator(fleet.topic))


async def test_the_coordinator_and_leader_is_killed_and_started_again(
    replicated: Fleet, kafka_cluster: KafkaCluster, figures: Figures
) -> None:
    fleet = replicated
    await fleet.create_topic()
    await fleet.start("a", "b")
    await fleet.balanced()
    async with fleet.load(per_s=300):
        node = await coordinator_of(fleet)
        with Quiet(*fleet) as quiet:
            killed_s = fleet.cut()
            await all_nodes(kafka_cluster.stop_node, node, kill=True)
            await until(lambda: {s.daemon for s in fleet.seen if s.at_s > killed_s + 2.0} == {"a", "b"}, "both go on")
            await fleet.balanced()
            await fleet.more()
        pause_s = fleet.stay_gap_s()
        await all_nodes(kafka_cluster.start_node, node)
        await fleet.more()
    cost = await fleet.settle(REPEATED_S)
    figures.note("coordinator and leader killed, started again", **cost, **quiet.figures, longest_pause_s=pause_s)


async def through_an_outage(
    fleet: Fleet, begin: Callable[[], Awaitable[None]], end: Callable[[], Awaitable[None]]
) -> dict[str, object]:
    """With deliveries in flow, and records that are waiting in the daemons."""
    await fleet.create_topic()
    await fleet.start("a", "b", delivery={"concurrency_max": 16})
    await fleet.balanced()
    await fleet.backlog(BACKLOG, work_s=0.1)
    await fleet.more()
    began_s = fleet.cut()
    await begin()
    try:
        with Quiet(*fleet) as quiet:
            await lasts(GONE_S)
            await until(lambda: all_unconfirmed(fleet), "each says that its membership is not confirmed")
            assert all([(await daemon.get("/healthz"))[0] == 200 for daemon in fleet])
    finally:
        await end()
    back_s = time.monotonic()
    assert fleet.accepted < BACKLOG, "it happened in full flow"
    await fleet.more(1, BROKERS_S)
    resumed_s = fleet.pause_s(back_s)
    async with fleet.load(per_s=100):
        await fleet.balanced()
    cost = await fleet.settle(fleet.cut() - began_s + REPEATED_S)  # a coordinator that has begun anew may know nobody
    return {**cost, **quiet.figures, "resumed_after_s": resumed_s}


async def all_unconfirmed(fleet: Fleet) -> bool:
    """Return True if no daemon is ready, each because Kafka does not confirm its membership."""
    answers = [await daemon.get("/readyz") for daemon in fleet]
    return all(status == 503 and "not confirmed" in body for status, body in answers)


async def test_all_brokers_are_gone_for_a_while(
    replicated: Fleet, kafka_cluster: KafkaCluster, figures: Figures
) -> None:
    cost = await through_an_outage(
        replicated,
        lambda: all_nodes(kafka_cluster.stop_node, *NODES, kill=True),
        lambda: all_nodes(kafka_cluster.start_node, *NODES),
    )
    figures.note(f"all brokers gone for {GONE_S:.0f} s", **cost)


async def test_all_brokers_accept_and_never_answer(
    replicated: Fleet, kafka_cluster: KafkaCluster, figures: Figures
) -> None:
    cost = await through_an_outage(
        replicated,
        lambda: all_nodes(kafka_cluster.freeze_node, *NODES),
        lambda: all_nodes(kafka_cluster.thaw_node, *NODES),
    )
    figures.note(f"all brokers accept and never answer for {GONE_S:.0f} s", **cost)


async def test_the_coordinator_accepts_and_never_answers(
    replicated: Fleet, kafka_cluster: KafkaCluster, figures: Figures
) -> None:
    """The others take over while it is frozen, and so do the daemons."""
    fleet = replicated
    await fleet.create_topic()
    await fleet.start("a", "b", delivery={"concurrency_max": 16})
    await fleet.balanced()
    await fleet.backlog(2 * BACKLOG, work_s=0.1)
    node = await coordinator_of(fleet)
    frozen_s = fleet.cut()
    await all_nodes(kafka_cluster.freeze_node, node)
    try:
        with Quiet(*fleet) as quiet:
            over_s = frozen_s + SESSION_S + 1.0
            await until(lambda: {s.daemon for s in fleet.seen if s.at_s > over_s} == {"a", "b"}, "both go on", 60)
            resumed_s = fleet.pause_s(over_s) + over_s - frozen_s
    finally:
        await all_nodes(kafka_cluster.thaw_node, node)
    await fleet.balanced()
    cost = await fleet.settle(fleet.cut() - frozen_s + REPEATED_S)
    figures.note("the coordinator accepts and never answers", **cost, **quiet.figures, resumed_after_s=resumed_s)
