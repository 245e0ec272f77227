"""Members that come, go, die and freeze: nothing is lost, little is done again, and no key is in two hands."""

import random

import pytest

from mpsd.core.offset_map import OffsetMap, decode
from mpsd.core.record import TopicPartition
from mpsd.kafka.cluster import Cluster
from tests.faults.figures import Figures
from tests.faults.fleet import KEYS, REBALANCE_S, REPEATED_S, SOAK_MINUTES, Fleet
from tests.integration.world import NO_ANSWER, Answer, Message, keyed, until

pytestmark = pytest.mark.integration


async def test_a_rolling_restart_of_three_is_not_noticed(fleet: Fleet, figures: Figures) -> None:
    await fleet.create_topic()
    await fleet.start("a", "b", "c")
    await fleet.balanced()
    async with fleet.load():
        fleet.seen.clear()
        for name in ("a", "b", "c"):
            assert await fleet[name].stop() == 0
            await fleet.more()
            await fleet.start(name)
            await fleet.balanced()
            await fleet.more()
    cost = await fleet.settle()
    assert set(fleet.world.application.accepted.values()) == {1}
    gap_ms = round(fleet.stay_gap_s() * 1000)
    figures.note("rolling restart of three under load", **cost, longest_gap_of_a_partition_that_stays_ms=gap_ms)


async def test_kills_at_random_in_full_flow(fleet: Fleet, figures: Figures) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    await fleet.create_topic()
    await fleet.start("a", "b", "c")
    async with fleet.load():
        for _ in range(3):
            name = dice.choice("abc")
            await fleet.kill(name)
            fleet.begin(name)
            await fleet.more(dice.randrange(100, 2_000))
    cost = await fleet.settle(REPEATED_S + REBALANCE_S)
    figures.note("SIGKILL in full flow, three times", **cost)


async def test_a_frozen_member_starts_nothing_before_it_is_confirmed(fleet: Fleet, figures: Figures) -> None:
    """Frozen while nothing more may start, it finds answers when it is thawed: room for deliveries of another's records."""
    at_once = 50
    await fleet.create_topic()
    await fleet.start("a", "b", delivery={"concurrency_max": at_once})
    await fleet.balanced()
    async with fleet.load():
        usual = fleet.behaviour
        fleet.behaviour = lambda request: NO_ANSWER if request.headers["x-daemon"] == "a" else usual(request)
        await fleet.holds("a", at_once)
        await fleet.has_committed("a")
        fleet.freeze("a")
        fleet.behaviour = usual
        fleet.world.application.release()
        await fleet.balanced("b")
        thawed_s = fleet.thaw("a")
        await until(lambda: any(seen.daemon == "a" and seen.at_s > thawed_s for seen in fleet.seen), "it works again")
        await fleet.balanced()
    cost = await fleet.settle(REPEATED_S)
    assert not fleet.early("a", thawed_s)
    figures.note("SIGSTOP of one of two until the other has all, SIGCONT", **cost, started_by_the_thawed_too_early=0)


async def test_a_member_frozen_within_its_session(fleet: Fleet, figures: Figures) -> None:
    """While another one joins, it is dropped after the rebalance time-out, and thawed long before its session would end."""
    session = {"session_timeout_ms": 60_000}
    await fleet.create_topic()
    await fleet.start("a", "b", kafka=session)
    await fleet.balanced()
    async with fleet.load():
        fleet.freeze("a")
        fleet.begin("c", kafka=session)
        await fleet.balanced("b", "c")
        thawed_s = fleet.thaw("a")
        await fleet.balanced()
        await until(lambda: any(seen.daemon == "a" and seen.at_s > thawed_s for seen in fleet.seen), "it works again")
    cost = await fleet.settle(REPEATED_S)
    figures.note("SIGSTOP while another joins, SIGCONT within the session", **cost)


@pytest.mark.parametrize("finished", [50_000 if SOAK_MINUTES else 10_000])
async def test_what_is_finished_behind_a_stuck_record_survives_a_kill(
    fleet: Fleet, figures: Figures, finished: int
) -> None:
    """Once the last commit is over, nothing but the stuck record is delivered again."""
    world = fleet.world
    await fleet.create_topic(1)
    fleet.behaviour = lambda request: NO_ANSWER if request.record.key == b"stuck" else Answer()
    room = {"records_max": finished + 10}
    await fleet.start("a", pending=room)
    others = [keyed(number, KEYS) for number in range(finished)]
    await world.produce(fleet.topic, [Message(b"stuck", b"1"), *others, Message(b"stuck", b"2")])
    await until(lambda: fleet.accepted == finished, "all others are accepted", 60.0)
    tp = TopicPartition(fleet.topic, 0)

    async def is_committed() -> bool:
        async with Cluster({"bootstrap_servers": fleet.world.kafka.bootstrap_servers}) as cluster:
            point = (await cluster.committed(fleet.topic)).get(tp)
        if point is None:
            return False
        said = decode(point.metadata, tp, point.next_offset, 0, finished + 2)
        return isinstance(said, OffsetMap) and sum(run.stop - run.start for run in said.runs) == finished

    await until(is_committed, "all of them are in the commit", every_s=0.5)
    await fleet.kill("a")
    world.application.heal()
    await fleet.start("a", pending=room)
    cost = await fleet.settle()
    assert set(world.application.accepted.values()) == {1}
    figures.note(f"SIGKILL with one key stuck and {finished:,} finished", **cost)
