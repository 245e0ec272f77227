"""The state of a lane, as an operator reads it."""

import asyncio
from collections.abc import Collection
from dataclasses import replace

from mpsd.core.outcome import DELIVERED
from mpsd.core.pauses import Scope
from mpsd.core.states import DeliveryState, LaneState
from mpsd.errors import KafkaUnavailable
from mpsd.pipeline.inspection import lanes_of
from tests.fakes.blocked_keys import pause_of
from tests.fakes.pipeline import Piped, piped
from tests.fakes.records import FAILED, LOST, POISON, REFUSED
from tests.fakes.replays import dead_letter
from tests.fakes.stage import policy_rules
from tests.unit.pipeline.replay.test_tasks import Fleet


async def states(at: Piped, offsets: Collection[int] = range(9)) -> dict[int, str]:
    """Return the states of the lanes by the offsets of their heads."""
    views = [view async for part in lanes_of(at.pipeline, Scope("billing")) for view in part]
    return {view.head.record.offset: view.state.value for view in views if view.head.record.offset in offsets}


async def until_s(at: Piped, offset: int) -> float | None:
    views = [view async for part in lanes_of(at.pipeline, Scope("billing")) for view in part]
    (found,) = [view.until_s for view in views if view.head.record.offset == offset]
    return found


async def test_a_head_in_its_lost_window_is_lost_though_another_of_its_partition_is_dead_lettered() -> None:
    async with piped(rules=policy_rules()) as at:
        at.sink.refuse = lambda _: KafkaUnavailable("not now")
        at.adapter.answer = lambda delivery: LOST if delivery.record.offset == 0 else POISON
        at.feed(b"a", b"b")
        await asyncio.sleep(1.0)
        assert await states(at) == {0: LaneState.LOST, 1: LaneState.DEAD_LETTERING}
        now_s = asyncio.get_running_loop().time()
        assert now_s < (await until_s(at, 0) or 0.0) < now_s + 5.0


async def test_suspects_and_heads_in_back_off_say_so() -> None:
    async with piped(rules=policy_rules(backoff_initial_s=50.0, backoff_max_s=50.0)) as at:
        at.adapter.answer = lambda delivery: FAILED if delivery.record.offset == 3 else None
        at.feed(b"a", b"b", b"c", b"d", b"d")
        await asyncio.sleep(0.1)
        assert await states(at) == {**dict.fromkeys(range(3), LaneState.IN_FLIGHT), 3: LaneState.BACKING_OFF}
        at.adapter.crash()
        await asyncio.sleep(20.0)
        found = await states(at)
        assert sorted(found.values())[:1] == [LaneState.BACKING_OFF]
        assert set(found.values()) <= {LaneState.BACKING_OFF, LaneState.SUSPECT, LaneState.IN_FLIGHT}
        assert LaneState.SUSPECT in found.values()


async def test_a_paused_head_says_so_wherever_it_would_be_delivered_from(at: Piped) -> None:
    at.pipeline.controls.set_pauses([pause_of(b"a")])
    at.source.produce(b"a", b"b")
    at.adapter.answer = lambda _: None
    at.source.assign()
    await asyncio.sleep(1.0)
    assert await states(at) == {0: LaneState.PAUSED, 1: LaneState.IN_FLIGHT}
    at.pipeline.controls.set_pauses([replace(pause_of(b"a"), scope=Scope("billing"))])
    at.source.produce(b"c")
    await asyncio.sleep(1.0)
    assert (await states(at))[2] == LaneState.PAUSED


async def test_a_ready_head_waits_for_a_slot_or_for_the_endpoint(at: Piped) -> None:
    at.pipeline.writer.concurrency_max = 0
    at.feed(b"a")
    await asyncio.sleep(1.0)
    assert await states(at) == {0: LaneState.READY}
    at.adapter.answer = lambda _: REFUSED
    at.pipeline.controls.set_limit(None)
    at.source.produce(*[b"%d" % number for number in range(100)])
    await asyncio.sleep(60.0)
    assert LaneState.ENDPOINT_OUT in (await states(at, range(101))).values()


async def test_ready_heads_say_that_everything_is_rejected_as_the_subscription_does() -> None:
    rules = policy_rules()
    async with piped(rules=replace(rules, breaker=replace(rules.breaker, rejections_max=10))) as at:
        at.adapter.answer = lambda _: POISON
        at.feed(*[b"%d" % number for number in range(100)])
        await asyncio.sleep(30.0)
        assert at.pipeline.statistics().situation().state == DeliveryState.ALL_REJECTED
        seen = set((await states(at, range(100))).values())
        assert {LaneState.ALL_REJECTED} <= seen <= {LaneState.ALL_REJECTED, LaneState.BACKING_OFF, LaneState.IN_FLIGHT}


async def test_a_record_behind_a_replayed_one_of_its_key_waits() -> None:
    fleet = Fleet(dead_letter(0, 100, b"a"))
    async with fleet.daemon() as at:
        fleet.outcome = None
        at.source.assign()
        await fleet.start()
        await asyncio.sleep(2.0)
        at.source.produce(b"a", b"a")
        await asyncio.sleep(1.0)
        assert await states(at) == {0: LaneState.WAITING}
        fleet.outcome = DELIVERED
        at.adapter.end(next(iter(at.adapter.in_flight)), DELIVERED)
        await asyncio.sleep(2.0)
        assert await states(at) == {}
