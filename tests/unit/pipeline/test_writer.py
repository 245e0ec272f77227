"""The Writer between doubles, in virtual time; jitter is 1, so that each back-off is as long as it can be."""

import asyncio
import gc
import itertools
import logging
import weakref

import pytest

from mpsd.core.delivery import Delivery
from mpsd.core.outcome import DELIVERED, Delivered, Outcome, Retryable, Unavailable
from tests.fakes.adapter import Answer
from tests.fakes.clock import turns
from tests.fakes.records import BUSY, FAILED, LOST, POISON, REFUSED, TAKEN_BACK
from tests.fakes.stage import Stage, policy_rules
from tests.virtual_time import VirtualTimeLoop

KEYS = [b"%d" % number for number in range(20)]


async def started(stage: Stage) -> Stage:
    await stage.writer.start()
    return stage


@pytest.fixture
async def stage() -> Stage:
    """Return a writer of default rules at work."""
    return await started(Stage())


def only(*offsets: int, outcome: Outcome) -> Answer:
    """Return an application that answers these offsets so, and accepts all others."""
    return lambda delivery: outcome if delivery.record.offset in offsets else DELIVERED


# The way there


async def test_one_lane_is_delivered_in_order_and_one_at_a_time(stage: Stage) -> None:
    queue = stage.feed(*[b"a"] * 5)
    await stage.done(queue)
    assert stage.adapter.offsets == [0, 1, 2, 3, 4]
    assert stage.adapter.in_flight_most == 1


async def test_different_lanes_are_delivered_together_and_handed_over_in_one_batch(stage: Stage) -> None:
    queue = stage.feed(*KEYS)
    await stage.done(queue)
    assert stage.adapter.batches == [20]


async def test_no_more_is_handed_over_than_the_adapter_takes() -> None:
    stage = await started(Stage(concurrency_max=3))
    queue = stage.feed(*KEYS)
    await stage.done(queue)
    assert stage.adapter.in_flight_most == 3
    assert sorted(stage.adapter.offsets) == list(range(20))


async def test_an_adapter_that_takes_no_bytes_gets_nothing(stage: Stage) -> None:
    stage.adapter.bytes_max = 0
    stage.feed(b"a")
    await turns()
    assert stage.adapter.started == []


async def test_an_adapter_that_takes_something_again_gets_it() -> None:
    stage = await started(Stage(concurrency_max=0))
    queue = stage.feed(b"a")
    await asyncio.sleep(60.0)
    assert stage.adapter.started == []
    stage.adapter.concurrency_max = 1
    await stage.done(queue)


async def test_nothing_starts_before_the_start_nor_after_the_stop() -> None:
    stage = Stage()
    queue = stage.feed(b"a")
    await turns()
    assert stage.adapter.started == []
    await stage.writer.start()
    stage.adapter.answer = only(0, outcome=FAILED)
    await stage.adapter.until(lambda: stage.adapter.offsets == [0] and not stage.adapter.in_flight)
    stage.writer.stop()
    stage.read(queue, b"b")
    await asyncio.sleep(60.0)
    assert stage.adapter.offsets == [0]


async def test_a_writer_that_was_woken_and_then_stopped_starts_nothing(stage: Stage) -> None:
    stage.feed(b"a")
    stage.writer.stop()
    await asyncio.sleep(60.0)
    assert stage.adapter.started == []


async def test_what_is_in_flight_at_the_stop_is_still_settled(stage: Stage) -> None:
    queue = stage.feed(b"a", b"a")
    await stage.adapter.until(lambda: bool(stage.adapter.in_flight))
    stage.writer.stop()
    await stage.adapter.until(lambda: not stage.adapter.in_flight)
    assert list(queue.tracker.unfinished) == [1]


# Retries


async def test_a_lane_in_back_off_holds_no_slot() -> None:
    stage = await started(Stage(concurrency_max=1))
    stage.adapter.answer = only(0, outcome=FAILED)
    queue = stage.feed(b"bad", *KEYS)
    await stage.adapter.until(lambda: len(queue.tracker.unfinished) == 1)
    assert stage.writer.statistics()["backing_off"] == 1
    assert len(stage.adapter.times(0)) == 1


async def test_retries_come_after_their_back_offs_and_end_in_the_dead_letter_topic(stage: Stage) -> None:
    stage.adapter.takes_s = 0.0
    stage.adapter.answer = only(0, outcome=FAILED)
    queue = stage.feed(b"a", b"a")
    await stage.done(queue)
    assert stage.adapter.times(0) == pytest.approx([0.0, 1.0, 3.0])
    assert stage.adapter.times(1) == pytest.approx([3.0])
    assert stage.entry == [(0, "attempts-exhausted")]
    assert [begun.attempt for begun in stage.adapter.started] == [1, 2, 3, 1]
    assert (stage.writer.retries, queue.charges) == (2, 2)


async def test_back_offs_end_in_the_order_of_their_time() -> None:
    stage = await started(Stage(policy_rules(lanes_min=4)))
    waits = {0: 5.0, 1: 1.0, 2: 3.0}
    stage.adapter.answer = lambda delivery: (
        Retryable(code="status_503", reason="", retry_after_s=waits[delivery.record.offset])
        if delivery.attempt == 1
        else DELIVERED
    )
    queue = stage.feed(b"a", b"b", b"c")
    await stage.done(queue)
    assert stage.adapter.offsets == [0, 1, 2, 1, 2, 0]


async def test_a_wait_that_the_application_asks_for_is_granted(stage: Stage) -> None:
    asks = Unavailable(code="status_503", reason="", status=503, retry_after_s=7.0)
    stage.adapter.answer = lambda _: asks if not stage.adapter.times(0)[1:] else DELIVERED
    queue = stage.feed(b"a")
    await stage.done(queue)
    assert stage.adapter.times(0) == pytest.approx([0.0, 7.01])


async def test_what_was_taken_back_is_delivered_again_at_once_and_at_no_cost(stage: Stage) -> None:
    stage.adapter.answer = lambda _: TAKEN_BACK if len(stage.adapter.started) < 10 else DELIVERED
    queue = stage.feed(b"a")
    await stage.done(queue)
    assert {begun.attempt for begun in stage.adapter.started} == {1}
    assert stage.adapter.started[-1].at_s < 1.0
    assert stage.writer.withdrawn == 9


# The endpoint is out


def outage(stage: Stage, from_s: float, to_s: float) -> Answer:
    return lambda _: REFUSED if from_s <= stage.monotonic_s() < to_s else DELIVERED


async def test_an_outage_is_survived_without_attempts_and_with_few_deliveries(stage: Stage) -> None:
    stage.adapter.answer = outage(stage, 0.0, 120.0)
    queue = stage.feed(*KEYS * 5)
    await stage.done(queue)
    assert stage.entry == []
    assert {begun.attempt for begun in stage.adapter.started} == {1}
    assert len(stage.adapter.started) <= 20 + 120 + 100
    assert max(begun.at_s for begun in stage.adapter.started) < 180.0


async def test_an_outage_in_which_all_lanes_back_off_longer_than_the_probes_rest_is_survived() -> None:
    """The probe was due and nothing was ready: nobody came back when something was."""
    stage = await started(Stage(policy_rules(backoff_initial_s=8.0)))
    stage.adapter.answer = outage(stage, 0.0, 5.0)
    queue = stage.feed(*KEYS)
    await stage.done(queue)
    assert max(begun.at_s for begun in stage.adapter.started) < 20.0


async def test_while_the_breaker_is_open_one_probe_is_out_at_a_time_each_from_another_lane() -> None:
    stage = await started(Stage(policy_rules(backoff_initial_s=100.0, backoff_max_s=100.0)))
    stage.adapter.answer = outage(stage, 0.0, 10.0)
    queue = stage.feed(*KEYS[:3])
    await stage.adapter.until(lambda: stage.policy.breaker.is_open)
    stage.read(queue, *KEYS[3:])
    await stage.adapter.until(lambda: not stage.policy.breaker.is_open)
    probes = [begun for begun in stage.adapter.started if 0.0 < begun.at_s <= 11.5]
    rests = [later.at_s - earlier.at_s for earlier, later in itertools.pairwise(probes)]
    assert rests[:4] == pytest.approx([0.25, 0.5, 1.0, 1.0], abs=0.1)
    assert len({begun.offset for begun in probes}) >= len(probes) // 2, "every other probe is of a lane never tried"


async def test_a_record_that_arrives_in_an_outage_is_soon_a_probe() -> None:
    stage = await started(Stage(policy_rules(backoff_initial_s=500.0, backoff_max_s=500.0)))
    stage.adapter.answer = outage(stage, 0.0, 1000.0)
    queue = stage.feed(*KEYS[:3])
    await asyncio.sleep(60.0)
    before = len(stage.adapter.started)
    assert set(stage.adapter.offsets) == {0, 1, 2}
    stage.read(queue, b"new")
    await asyncio.sleep(3.0)
    assert 3 in stage.adapter.offsets[before : before + 2]


async def test_a_probe_of_a_partition_that_left_makes_way_for_another() -> None:
    stage = await started(Stage(policy_rules(lanes_min=1, backoff_initial_s=500.0, backoff_max_s=500.0)))
    stage.adapter.answer = lambda _: REFUSED
    gone, queue = stage.open(0), stage.open(1)
    stage.read(gone, b"a")
    await stage.adapter.until(lambda: stage.policy.breaker.is_open)
    stage.adapter.answer = lambda _: None
    stage.read(gone, b"b")
    await stage.adapter.until(lambda: len(stage.adapter.started) == 2)
    (probe,) = stage.adapter.in_flight
    stage.pending.discard(gone.assignment)
    stage.writer.forget(gone.assignment)
    stage.read(queue, b"c")
    stage.adapter.answer = lambda _: DELIVERED
    stage.adapter.end(probe, DELIVERED)
    await stage.done(queue)
    assert stage.writer.stale == 1


# Suspects


async def three_suspects() -> Stage:
    """Three lanes that were lost in one event and are not charged."""
    stage = await started(Stage(policy_rules(lanes_min=100)))
    stage.adapter.answer = lambda delivery: None if delivery.record.offset < 3 else DELIVERED
    stage.feed(*KEYS[:3])
    await stage.adapter.until(lambda: len(stage.adapter.in_flight) == 3)
    stage.adapter.crash()
    return stage


async def test_suspects_are_delivered_in_growing_groups_beside_normal_traffic() -> None:
    stage = await three_suspects()
    (queue,) = stage.pending.queues.values()
    await stage.adapter.until(lambda: len(stage.adapter.in_flight) == 1)
    stage.read(queue, *KEYS[3:] * 5)
    await stage.adapter.until(lambda: len(queue.tracker.unfinished) == 3)
    assert [delivery.record.offset for delivery in stage.adapter.in_flight] == [0]
    assert stage.writer.statistics()["suspects"] == 3
    for group in ([0], [1, 2]):
        assert [suspect.record.offset for suspect in stage.adapter.in_flight] == group
        for suspect in list(stage.adapter.in_flight):
            stage.adapter.end(suspect, DELIVERED)
        await turns()
    assert not queue.tracker.unfinished
    assert stage.writer.statistics()["suspects"] == 0


async def test_many_that_were_on_a_stream_that_died_are_not_held_up_by_each_other() -> None:
    """They went one at a time: a thousand records of a slow handler took a thousand times as long as one."""
    stage = await started(Stage(policy_rules(lanes_min=1000, concurrency_max=500), concurrency_max=500))
    stage.adapter.answer = lambda _: None
    queue = stage.feed(*[b"%d" % number for number in range(500)])
    await stage.adapter.until(lambda: len(stage.adapter.in_flight) == 500)
    stage.adapter.crash()

    def slow(made: Delivery) -> None:
        asyncio.get_running_loop().call_later(1.0, stage.adapter.end, made, DELIVERED)

    stage.adapter.answer = slow
    began_s = asyncio.get_running_loop().time()
    await stage.done(queue)
    assert asyncio.get_running_loop().time() - began_s < 12.0


async def test_a_suspect_that_finds_the_endpoint_busy_rests_like_any_other() -> None:
    """The suspect once went out again at once, as often as the endpoint could answer."""
    stage = await three_suspects()
    (queue,) = stage.pending.queues.values()
    stage.adapter.answer = only(0, outcome=BUSY)
    await asyncio.sleep(60.0)
    assert list(queue.tracker.unfinished) == [0]
    assert len(stage.adapter.times(0)) <= 8


async def test_a_suspect_that_was_charged_rests_like_any_other() -> None:
    stage = await three_suspects()
    (queue,) = stage.pending.queues.values()
    stage.adapter.answer = only(0, outcome=LOST)
    await stage.done(queue)
    assert stage.entry == [(0, "attempts-exhausted")]
    assert stage.adapter.times(0) == pytest.approx([0.0, 1.0, 3.01, 6.02], abs=0.1)


async def test_suspects_of_a_partition_that_is_held_wait_for_it_and_hinder_nobody() -> None:
    stage = await three_suspects()
    (queue,) = stage.pending.queues.values()
    other = stage.open(1)
    stage.stop(queue, leaves=True)
    stage.adapter.answer = lambda _: DELIVERED
    stage.read(other, *KEYS)
    await asyncio.sleep(60.0)
    assert len(stage.adapter.started) == 3 + 20
    assert not other.tracker.unfinished
    assert stage.writer.statistics()["suspects"] == 3
    stage.stop(queue, leaves=False)
    await stage.done(queue)


async def test_suspects_behind_a_held_one_go_first() -> None:
    stage = await started(Stage(policy_rules(lanes_min=100)))
    held, free = stage.open(0), stage.open(1)
    stage.adapter.answer = lambda _: None
    stage.read(held, b"a")
    stage.read(free, b"b")
    await stage.adapter.until(lambda: len(stage.adapter.in_flight) == 2)
    stage.adapter.crash()
    stage.stop(held, leaves=True)
    stage.adapter.answer = lambda _: DELIVERED
    await stage.done(free)
    stage.stop(held, leaves=False)
    await stage.done(held)


async def test_a_poison_record_that_crashes_everything_ends_alone() -> None:
    stage = await started(Stage(concurrency_max=8))

    def answer(delivery: Delivery) -> Outcome | None:
        if delivery.record.offset == 7:
            asyncio.get_running_loop().call_later(0.001, stage.adapter.crash)
            return None
        return DELIVERED

    stage.adapter.answer = answer
    queue = stage.feed(*KEYS * 20)
    await stage.done(queue)
    assert stage.entry == [(7, "attempts-exhausted")]
    assert len(stage.adapter.times(7)) <= 8


# A partition that goes


async def test_nothing_ready_of_a_partition_that_is_gone_is_delivered() -> None:
    stage = await started(Stage(concurrency_max=1))
    gone, stays = stage.open(0), stage.open(1)
    stage.read(gone, *KEYS)
    stage.read(stays, *KEYS)
    await stage.adapter.until(lambda: len(stage.adapter.started) == 4)
    stage.pending.discard(gone.assignment)
    stage.writer.forget(gone.assignment)
    begun = len(stage.adapter.started)
    await stage.done(stays)
    assert {each.partition for each in stage.adapter.started[begun:]} == {1}


async def test_stale_outcomes_are_counted_and_mean_nothing(stage: Stage) -> None:
    queue = stage.feed(*KEYS)
    await stage.adapter.until(lambda: bool(stage.adapter.in_flight))
    stage.pending.discard(queue.assignment)
    stage.writer.forget(queue.assignment)
    await stage.adapter.until(lambda: not stage.adapter.in_flight)
    assert stage.writer.stale == 20
    assert stage.writer.in_flight == 0
    assert not stage.writer.outcomes


async def test_what_was_lost_before_its_partition_left_is_not_delivered_after() -> None:
    stage = await started(Stage(policy_rules(lanes_min=100)))
    gone = stage.open(0)
    stage.adapter.answer = lambda _: LOST
    stage.read(gone, b"a", b"b")
    await stage.adapter.until(lambda: stage.policy.lost_due_s is not None)
    stage.pending.discard(gone.assignment)
    stage.writer.forget(gone.assignment)
    await asyncio.sleep(60.0)
    assert len(stage.adapter.started) == 2
    assert stage.policy.lost_due_s is None


async def test_a_partition_that_left_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "mpsd.writer")  # what is captured would hold on to what it tells of
    stage = await started(Stage(policy_rules(lanes_min=100)))
    queue = stage.open()
    stage.adapter.answer = lambda delivery: (FAILED, LOST, LOST)[delivery.record.offset % 3]
    stage.read(queue, *KEYS)
    await asyncio.sleep(1.05)
    assert stage.writer.statistics()["backing_off"]
    assert stage.writer.statistics()["suspects"]
    left = [weakref.ref(delivery.record) for delivery in queue.tracker.unfinished.values()]
    stage.pending.discard(queue.assignment)
    stage.writer.forget(queue.assignment)
    del queue
    await asyncio.sleep(60.0)
    gc.collect()
    assert [row() for row in left if row() is not None] == []


# What limits


async def test_without_a_lease_nothing_starts_and_with_it_all_goes_on(stage: Stage) -> None:
    stage.source.lease_s = 0.0
    stage.feed(b"a")
    await asyncio.sleep(60.0)
    assert stage.adapter.started == []
    stage.source.lease_s = 10.0
    await asyncio.sleep(0.1)
    assert stage.adapter.offsets == [0]


async def test_a_rate_is_kept() -> None:
    stage = await started(Stage(rate_per_s=10.0))
    queue = stage.feed(*KEYS * 5)
    await asyncio.sleep(5.0)
    assert len(stage.adapter.started) == pytest.approx(51, abs=1)
    await asyncio.sleep(10.0)
    assert not queue.tracker.unfinished


async def test_suspects_wait_for_the_rate_too_and_are_not_forgotten() -> None:
    stage = await started(Stage(policy_rules(lanes_min=100), rate_per_s=1.0))
    queue = stage.open()
    stage.adapter.answer = lambda _: None
    stage.read(queue, b"a", b"b")
    await asyncio.sleep(1.5)
    stage.adapter.crash()
    stage.adapter.answer = lambda _: DELIVERED
    await asyncio.sleep(5.0)
    assert not queue.tracker.unfinished


async def test_an_endpoint_that_asks_for_less_gets_less() -> None:
    stage = await started(Stage(policy_rules(lanes_min=100, concurrency_max=16), concurrency_max=16))
    stage.adapter.answer = only(0, outcome=BUSY)
    stage.feed(*KEYS)
    await stage.adapter.until(lambda: len(stage.adapter.started) >= 16)
    stage.adapter.answer = lambda _: None
    await asyncio.sleep(0.5)
    assert len(stage.adapter.in_flight) <= 9


async def test_a_record_that_is_too_old_is_dead_lettered_and_not_delivered() -> None:
    stage = await started(Stage(policy_rules(record_age_max_s=60.0)))
    await asyncio.sleep(61.0)
    queue = stage.feed(b"a", b"a")
    stage.read(queue, b"b", timestamp=-1)
    await stage.done(queue)
    assert stage.entry == [(0, "expired"), (1, "expired")]
    assert stage.adapter.offsets == [2]


async def test_a_suspect_or_a_probe_that_has_become_too_old_makes_way() -> None:
    stage = await started(Stage(policy_rules(lanes_min=2, record_age_max_s=60.0)))
    queue = stage.open()
    stage.adapter.answer = lambda _: LOST
    stage.read(queue, b"a", b"b")
    await asyncio.sleep(30.0)
    assert stage.policy.breaker.is_open
    stage.adapter.answer = lambda _: None
    await asyncio.sleep(2.0)
    (probe,) = stage.adapter.in_flight
    await asyncio.sleep(60.0)
    stage.adapter.answer = lambda _: DELIVERED
    stage.adapter.end(probe, LOST)
    stage.read(queue, b"c", timestamp=-1)
    await stage.done(queue)
    assert sorted(stage.entry) == [(0, "expired"), (1, "expired")]


# What it says


async def test_latencies_are_those_of_the_endpoint_and_of_the_whole_way(stage: Stage) -> None:
    stage.adapter.takes_s = 0.5
    await asyncio.sleep(2.0)
    queue = stage.feed(b"a")
    await stage.done(queue)
    assert stage.writer.endpoint_latency.total == pytest.approx(0.5)
    assert stage.writer.end_to_end_latency.total == pytest.approx(2.5)


async def test_a_record_without_a_time_has_no_latency_and_one_of_the_future_none_below_zero(stage: Stage) -> None:
    queue = stage.feed(b"a", timestamp=-1)
    await stage.done(queue)
    assert stage.writer.end_to_end_latency.count == 0
    stage.read(queue, b"a", timestamp=4_000_000_000_000)
    await stage.done(queue)
    assert (stage.writer.end_to_end_latency.count, stage.writer.end_to_end_latency.total) == (1, 0.0)


async def test_outcomes_are_counted_by_their_words(stage: Stage) -> None:
    stage.adapter.answer = lambda delivery: (Delivered(), POISON, FAILED)[delivery.record.offset]
    queue = stage.feed(b"a", b"b", b"c")
    await stage.done(queue)
    assert stage.writer.outcomes == {"delivered": 1, "status_422": 1, "status_500": 3}
    assert sorted(stage.entry) == [(1, "rejected"), (2, "attempts-exhausted")]


async def test_a_failure_is_told_without_key_or_value(caplog: pytest.LogCaptureFixture) -> None:
    stage = await started(Stage(policy_rules(attempts_max=2)))
    stage.adapter.answer = lambda delivery: (FAILED, POISON, REFUSED)[delivery.record.offset]
    stage.feed(b"secret", b"secret too", b"secret three")
    await asyncio.sleep(1.9)
    assert [record.getMessage() for record in caplog.records] == [
        "orders/0@0: failed (attempt 1 failed, the next in 1.0 s)",
        "orders/0@1: no such customer (to the dead-letter topic as rejected)",
        "orders/0@2: nobody listens (not counted as an attempt, the next delivery in 1.0 s or once deliveries succeed)",
        "orders/0@0: failed (to the dead-letter topic as attempts-exhausted)",
        "orders/0@2: nobody listens (not counted as an attempt, the next delivery in 2.0 s or once deliveries succeed)",
    ]
    fields = [{name: vars(record).get(name) for name in ("offset", "attempt", "status")} for record in caplog.records]
    assert fields[:3] == [
        {"offset": 0, "attempt": 1, "status": 500},
        {"offset": 1, "attempt": 1, "status": 422},
        {"offset": 2, "attempt": 1, "status": None},
    ]
    assert fields[3] == {"offset": 0, "attempt": 2, "status": 500}
    assert {(vars(record)["topic"], vars(record)["partition"]) for record in caplog.records} == {("orders", 0)}


async def test_a_writer_with_nothing_to_do_rests() -> None:
    stage = await started(Stage(rate_per_s=10.0))
    queue = stage.feed(*KEYS)
    await stage.done(queue)
    stage.source.lease_s = 0.0
    held = stage.open(1)
    stage.stop(held, leaves=True)
    stage.read(held, *KEYS)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    await asyncio.sleep(1.0)
    before = loop.turns
    await asyncio.sleep(3600.0)
    assert loop.turns - before < 10


async def test_a_probe_that_is_due_and_finds_no_demand_is_not_asked_for_again_and_again() -> None:
    stage = await started(Stage(policy_rules(backoff_initial_s=500.0, backoff_max_s=500.0)))
    stage.adapter.answer = lambda _: REFUSED
    queue = stage.feed(*KEYS[:3])
    await stage.adapter.until(lambda: stage.policy.breaker.is_open)
    stage.adapter.concurrency_max = 0
    stage.read(queue, b"d")
    await asyncio.sleep(2.0)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    before = loop.turns
    await asyncio.sleep(100.0)
    assert loop.turns - before < 10
    stage.adapter.answer = lambda _: DELIVERED
    stage.adapter.concurrency_max = 1
    begun = len(stage.adapter.started)
    await turns()
    assert len(stage.adapter.started) == begun + 1


async def test_a_partition_that_left_takes_its_failing_keys_along() -> None:
    stage = await started(Stage(policy_rules(failing_key_after=1)))
    stage.adapter.answer = only(0, outcome=FAILED)
    queue = stage.feed(b"a", *[b"good"] * 20)
    await stage.done(queue)
    assert stage.policy.statistics()["failing_keys"] == 1
    stage.writer.forget(queue.assignment)
    assert stage.policy.statistics()["failing_keys"] == 0
