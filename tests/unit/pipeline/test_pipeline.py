"""The whole pipeline between doubles, in virtual time."""

import asyncio

import pytest

from mpsd.core.delivery import Assignment
from mpsd.core.outcome import DELIVERED
from mpsd.core.states import DeliveryState
from mpsd.errors import CommitFenced, KafkaRefused, KafkaUnavailable
from tests.fakes.pipeline import Piped, piped, settings
from tests.fakes.records import FAILED, POISON
from tests.fakes.stage import policy_rules

KEYS = [b"%d" % number for number in range(20)]
DOWN = KafkaUnavailable("not enough replicas")


# From the broker to the application and back


async def test_records_are_read_delivered_and_committed(at: Piped) -> None:
    at.source.produce(*KEYS, hole=5)
    at.source.assign()
    await asyncio.sleep(2.0)
    assert sorted(at.adapter.offsets) == list(range(20))
    assert at.committed() == 25


async def test_where_a_group_begins_is_committed_at_once() -> None:
    async with piped(commit_interval_s=1000.0) as at:
        at.source.assign()
        await asyncio.sleep(0.01)
        assert at.committed() == 0


async def test_the_commit_waits_for_an_unfinished_record_and_nothing_else_does(at: Piped) -> None:
    at.adapter.answer = lambda delivery: None if delivery.record.offset == 3 else DELIVERED
    at.feed(*KEYS)
    await asyncio.sleep(5.0)
    assert (len(at.adapter.started), at.committed()) == (20, 3)


async def test_an_idle_partition_is_committed_once(at: Piped) -> None:
    at.source.assign()
    await asyncio.sleep(60.0)
    assert len(at.source.commits) == 1


async def test_a_commit_that_fails_is_made_again(at: Piped) -> None:
    at.source.commit_error = KafkaUnavailable("not now")
    at.feed(*KEYS)
    await asyncio.sleep(10.0)
    assert (at.committed(), at.pipeline.statistics().commit_failures >= 9) == (None, True)
    at.source.commit_error = None
    await asyncio.sleep(2.0)
    assert at.committed() == 20


async def test_a_backlog_far_larger_than_the_bounds_flows_through_them() -> None:
    async with piped(records_max=10) as at:
        at.feed(*KEYS * 20)
        await at.adapter.until(lambda: len(at.adapter.started) == 400)
        assert at.adapter.in_flight_most <= 10


async def test_a_partition_with_a_backlog_does_not_hold_up_another() -> None:
    async with piped(records_max=10) as at:
        at.adapter.answer = lambda delivery: None if delivery.record.partition == 0 else DELIVERED
        at.source.produce(*KEYS * 20, partition=0)
        at.source.assign(0)
        await asyncio.sleep(1.0)
        at.source.produce(*KEYS, partition=1)
        at.source.assign(1)
        await asyncio.sleep(1.0)
        assert sorted(begun.offset for begun in at.adapter.started if begun.partition == 1) == list(range(20))
        assert len(at.queues[0].tracker.unfinished) == 10


async def test_a_key_that_always_fails_does_not_fill_its_partition() -> None:
    async with piped(records_max=20) as at:
        at.adapter.answer = lambda delivery: FAILED if delivery.record.key == b"0" else DELIVERED
        at.feed(*[b"%d" % (number % 10) for number in range(200)])
        await at.adapter.until(lambda: len({begun.offset for begun in at.adapter.started}) == 200)
        await asyncio.sleep(60.0)
        assert at.committed() == 200
        assert len(at.sink.dead_letters) == 20


async def test_an_error_of_the_broker_is_waited_out(at: Piped) -> None:
    at.source.fetch_error = KafkaUnavailable("no broker answers")
    at.feed(*KEYS)
    await at.adapter.until(lambda: len(at.adapter.started) == 20)


async def test_polling_goes_on_though_nothing_can_be_read() -> None:
    async with piped(records_max=1) as at:
        at.adapter.answer = lambda _: None
        at.feed(*KEYS)
        await asyncio.sleep(10.0)
        assert asyncio.get_running_loop().time() - at.pipeline.reader.polled_at_s < 0.2
        assert at.source.fetches[-1] == set()
        assert at.pipeline.statistics().partitions[0].pending_records == 1


# Dead letters


async def test_a_poison_pill_is_passed_once_it_is_in_the_dead_letter_topic(at: Piped) -> None:
    at.adapter.answer = lambda delivery: POISON if delivery.record.offset == 0 else DELIVERED
    at.feed(b"a", b"a")
    await asyncio.sleep(2.0)
    assert (at.sink.offsets, at.adapter.offsets, at.committed()) == ([0], [0, 1], 2)


async def test_while_the_dead_letter_topic_is_down_its_partition_waits_visibly_and_goes_on_by_itself(at: Piped) -> None:
    at.adapter.answer = lambda delivery: POISON if delivery.record.offset == 0 else DELIVERED
    at.sink.refuse = lambda _: DOWN
    at.feed(b"a", b"a")
    await asyncio.sleep(30.0)
    at.source.produce(*KEYS)
    await asyncio.sleep(30.0)
    assert (at.committed(), at.adapter.offsets) == (0, [0])
    (part,) = at.pipeline.statistics().partitions
    assert (part.state, part.reason) == ("dlq-blocked", f"the dead-letter topic cannot be written: {DOWN}")
    assert at.pipeline.statistics().situation().reason == f"orders/0: {part.reason}"
    at.sink.refuse = lambda _: None
    await asyncio.sleep(10.0)
    assert at.committed() == 22


async def test_a_batch_that_cannot_be_read_is_a_state_with_its_reason_until_records_come_again(at: Piped) -> None:
    assignment = at.feed(b"a")
    await asyncio.sleep(1.0)
    at.source.listener.on_unreadable(assignment, 1, "the checksum is wrong")
    (part,) = at.pipeline.statistics().partitions
    assert part.state == "unreadable"
    assert part.reason.endswith("once it is decompressed: at offset 1: the checksum is wrong")
    at.source.produce(b"a")
    await asyncio.sleep(1.0)
    (part,) = at.pipeline.statistics().partitions
    assert (part.state, part.reason) == ("running", "")


# Partitions come and go


async def leaving(at: Piped) -> None:
    """One partition, ten records in flight, told to leave."""
    at.adapter.answer = lambda _: None
    assignment = at.feed(*KEYS[:10])
    await at.adapter.until(lambda: len(at.adapter.in_flight) == 10)
    at.source.listener.on_leaving(assignment)
    await asyncio.sleep(1.0)


async def test_a_partition_that_must_move_is_drained_committed_and_released_in_this_order(at: Piped) -> None:
    await leaving(at)
    at.source.produce(b"new")
    await asyncio.sleep(2.0)
    assert (at.source.released, at.pipeline.statistics().partitions[0].state) == ([], "draining")
    for delivery in list(at.adapter.in_flight):
        at.adapter.end(delivery, DELIVERED)
    await asyncio.sleep(0.1)
    assert [assignment.tp.partition for assignment in at.source.released] == [0]
    assert at.committed() == 10
    assert not at.queues
    assert len(at.adapter.started) == 10


async def test_a_partition_that_does_not_drain_in_time_is_cut_off() -> None:
    async with piped(drain_timeout_s=30.0) as at:
        await leaving(at)
        await asyncio.sleep(28.0)
        assert not at.source.released
        await asyncio.sleep(2.0)
        assert at.source.released
        assert at.committed() == 0


async def test_a_partition_leaves_only_with_its_dead_letters_written(at: Piped) -> None:
    await leaving(at)
    at.sink.takes_s = 5.0
    for delivery in list(at.adapter.in_flight):
        at.adapter.end(delivery, POISON)
    await asyncio.sleep(4.0)
    assert not at.source.released
    await asyncio.sleep(2.0)
    assert at.source.released
    assert (len(at.sink.dead_letters), at.committed()) == (10, 10)


async def test_what_is_dead_lettered_while_the_last_commit_is_under_way_is_in_it_or_in_the_next() -> None:
    async with piped(rules=policy_rules(attempts_max=1), commit_interval_s=1000.0) as at:
        await leaving(at)
        at.source.commit_takes_s = 3.0
        for delivery in list(at.adapter.in_flight)[1:]:
            at.adapter.end(delivery, DELIVERED)
        await asyncio.sleep(0.1)
        at.adapter.crash()  # charged, and so dead-lettered, when its window is over: in the middle of the commit
        await asyncio.sleep(30.0)
        assert at.source.released
        assert len(at.sink.dead_letters) == 1
        assert at.committed() == 10


async def test_a_partition_that_may_stay_after_all_goes_on(at: Piped) -> None:
    await leaving(at)
    (queue,) = at.queues
    at.source.listener.on_stays(queue.assignment)
    at.adapter.answer = lambda _: DELIVERED
    at.source.produce(b"new")
    for delivery in list(at.adapter.in_flight):
        at.adapter.end(delivery, DELIVERED)
    await asyncio.sleep(2.0)
    assert (at.committed(), at.source.released, queue.stopped_by) == (11, [], "")


async def test_one_that_may_stay_when_it_was_being_committed_goes_on(at: Piped) -> None:
    await leaving(at)
    (queue,) = at.queues
    at.source.commit_takes_s = 5.0
    for delivery in list(at.adapter.in_flight):
        at.adapter.end(delivery, DELIVERED)
    await asyncio.sleep(1.0)
    at.source.listener.on_stays(queue.assignment)
    at.adapter.answer = lambda _: DELIVERED
    at.source.produce(b"new")
    await asyncio.sleep(20.0)
    assert (at.committed(), at.source.released) == (11, [])


async def test_one_that_stays_while_the_dead_letter_topic_is_down_goes_on_waiting(at: Piped) -> None:
    at.adapter.answer = lambda delivery: POISON if delivery.record.offset == 0 else DELIVERED
    at.sink.refuse = lambda _: DOWN
    assignment = at.feed(b"a", b"a")
    await asyncio.sleep(5.0)
    at.source.listener.on_leaving(assignment)
    await asyncio.sleep(1.0)
    at.source.listener.on_stays(assignment)
    assert at.queues[0].stopped_by == "dlq-blocked"
    at.sink.refuse = lambda _: None
    await asyncio.sleep(10.0)
    assert at.committed() == 2


async def test_a_partition_that_stays_does_not_notice(at: Piped) -> None:
    await leaving(at)
    at.adapter.answer = lambda _: DELIVERED
    at.source.produce(*KEYS, partition=1)
    at.source.assign(1)
    await asyncio.sleep(2.0)
    assert at.committed(1) == 20


async def test_a_partition_that_is_lost_is_forgotten_with_all_its_deliveries(at: Piped) -> None:
    at.adapter.answer = lambda _: None
    assignment = at.feed(*KEYS)
    await at.adapter.until(lambda: len(at.adapter.in_flight) == 20)
    at.source.lose(assignment)
    await asyncio.sleep(1.0)
    assert not at.adapter.in_flight
    assert at.pipeline.statistics().stale_outcomes == 20
    assert not at.queues
    at.adapter.answer = lambda _: DELIVERED
    at.source.assign(epoch=2)
    await asyncio.sleep(2.0)
    assert at.committed() == 20


async def test_a_partition_lost_while_it_was_leaving_is_not_released(at: Piped) -> None:
    await leaving(at)
    (queue,) = at.queues
    at.source.lose(queue.assignment)
    await asyncio.sleep(100.0)
    assert (at.source.released, at.queues) == ([], [])


async def test_a_fenced_commit_of_a_leaving_partition_ends_when_it_is_lost(at: Piped) -> None:
    await leaving(at)
    at.source.commit_error = CommitFenced("the group has gone on")
    for delivery in list(at.adapter.in_flight):
        at.adapter.end(delivery, DELIVERED)
    await asyncio.sleep(5.0)
    (queue,) = at.queues
    at.source.lose(queue.assignment)
    await asyncio.sleep(5.0)
    assert at.source.released == []
    assert at.pipeline.state == "running"


async def test_one_that_is_told_to_leave_and_is_not_here_is_given_back(at: Piped) -> None:
    assignment = at.source.assign()
    at.source.listener.on_leaving(assignment)
    at.source.listener.on_leaving(assignment)
    await asyncio.sleep(1.0)
    at.source.listener.on_leaving(assignment)
    at.source.listener.on_stays(assignment)
    at.source.listener.on_lost(assignment)
    at.source.listener.on_log_end(assignment, 7, 7)
    assert at.source.released == [assignment, assignment]


async def test_a_partition_that_waits_for_a_transaction_says_so_and_its_lag_counts_to_the_end_of_the_log(
    at: Piped,
) -> None:
    assignment = at.feed(b"a", b"b")
    await asyncio.sleep(1.0)

    def look(log_end: int, stable_end: int) -> tuple[DeliveryState, int]:
        at.source.listener.on_log_end(assignment, log_end, stable_end)
        (part,) = at.pipeline.statistics().partitions
        return part.state, part.lag_records

    assert look(7, 2) == (DeliveryState.RUNNING, 5), "it may be through in a moment"
    assert look(9, 2) == (DeliveryState.OPEN_TRANSACTION, 7)
    assert look(12, 12) == (DeliveryState.RUNNING, 10)
    assert look(20, 15) == (DeliveryState.RUNNING, 18)
    assert look(20, 15) == (DeliveryState.RUNNING, 18), "there is still something to read"


async def test_what_goes_wrong_in_a_handover_is_seen(at: Piped) -> None:
    async def fail(assignment: object, deadline_s: float) -> None:
        raise OSError("no such thing")

    at.adapter.revoke = fail  # type: ignore[method-assign]
    at.source.listener.on_leaving(at.source.assign())
    await asyncio.sleep(1.0)
    assert at.pipeline.state == "failed"
    assert "no such thing" in at.pipeline.reason


# Limits


async def test_a_share_of_the_rate_counts_from_when_it_is_told() -> None:
    async with piped(rate_max_per_s=100.0) as at:
        at.source.listener.on_share(0.0)
        at.feed(*KEYS * 50)
        await asyncio.sleep(10.0)
        assert len(at.adapter.started) <= 1
        at.source.listener.on_share(0.5)
        await asyncio.sleep(10.0)
        assert len(at.adapter.started) == pytest.approx(500, abs=10)


async def test_without_a_rate_a_share_means_nothing() -> None:
    async with piped(rate_max_per_s=0.0) as at:
        at.source.listener.on_share(0.0)
        at.feed(*KEYS)
        await at.adapter.until(lambda: len(at.adapter.started) == 20)


async def test_deliveries_end_with_their_lease(at: Piped) -> None:
    at.adapter.answer = lambda _: None
    at.feed(*KEYS)
    await at.adapter.until(lambda: len(at.adapter.in_flight) == 20)
    at.source.lease_s = 0.0
    await asyncio.sleep(1.0)
    assert not at.adapter.in_flight
    at.adapter.answer = lambda _: DELIVERED
    at.source.lease_s = 10.0
    await asyncio.sleep(2.0)
    assert at.committed() == 20


async def test_no_delivery_outlives_its_lease_however_shortly(at: Piped) -> None:
    at.adapter.answer = lambda _: None
    at.feed(*KEYS)
    await at.adapter.until(lambda: len(at.adapter.in_flight) == 20)
    loop = asyncio.get_running_loop()
    end_s = loop.time() + 1.1
    at.source.lease_left_s = lambda: end_s - loop.time()  # type: ignore[method-assign]
    await asyncio.sleep(1.101)
    assert not at.adapter.in_flight


async def test_no_partition_waits_for_another_to_be_aborted_when_the_lease_is_over(at: Piped) -> None:
    at.adapter.answer = lambda _: None
    aborted_s: list[float] = []

    async def abort_slowly(assignment: Assignment, deadline_s: float) -> None:
        aborted_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1.0)

    at.source.produce(b"a")
    for partition in range(3):
        at.source.assign(partition)
    await at.adapter.until(lambda: len(at.adapter.in_flight) == 1)
    at.adapter.revoke = abort_slowly  # type: ignore[method-assign]
    at.source.lease_s = 0.0
    await asyncio.sleep(0.5)
    assert len(aborted_s) == 3
    del at.adapter.revoke


async def test_no_dead_letter_is_written_after_the_lease_but_when_the_membership_is_confirmed_again(at: Piped) -> None:
    at.adapter.answer = lambda _: POISON
    at.adapter.takes_s = 0.1
    at.feed(b"a")
    await at.adapter.until(lambda: len(at.adapter.in_flight) == 1)
    at.source.lease_s = 0.0
    await asyncio.sleep(0.2)
    assert not at.sink.dead_letters
    at.source.lease_s = 10.0
    await asyncio.sleep(0.2)
    assert len(at.sink.dead_letters) == 1


# The end


async def test_a_clean_stop_commits_all_that_was_finished_and_leaves() -> None:
    async with piped(commit_interval_s=1000.0) as at:
        at.adapter.takes_s = 3.0
        at.feed(*KEYS)
        await at.adapter.until(lambda: len(at.adapter.in_flight) == 20)
        at.source.produce(b"late")
        await at.pipeline.stop(10.0)
        assert (at.committed(), len(at.adapter.started)) == (20, 20)
        assert len(at.source.commits) == 2
        assert (at.source.is_closed, at.sink.is_closed, at.adapter.is_closed) == (True, True, True)
        assert (at.pipeline.state, at.queues) == ("draining", [])


async def test_a_stop_cuts_off_what_does_not_end_in_time(at: Piped) -> None:
    at.adapter.answer = lambda delivery: None if delivery.record.offset == 3 else DELIVERED
    at.feed(*KEYS)
    await asyncio.sleep(2.0)
    await at.pipeline.stop(10.0)
    assert asyncio.get_running_loop().time() == pytest.approx(12.0, abs=0.5)
    assert at.committed() == 3


async def test_a_stop_waits_for_dead_letters_to_be_written(at: Piped) -> None:
    at.adapter.answer = lambda _: POISON
    at.sink.takes_s = 5.0
    at.feed(*KEYS)
    await at.adapter.until(lambda: len(at.adapter.started) == 20)
    await at.pipeline.stop(20.0)
    assert (len(at.sink.dead_letters), at.committed()) == (20, 20)


async def test_a_stop_does_not_wait_for_ever_for_a_topic_that_is_down(at: Piped) -> None:
    at.adapter.answer = lambda delivery: POISON if delivery.record.offset == 0 else DELIVERED
    at.sink.refuse = lambda _: DOWN
    at.feed(*KEYS)
    await asyncio.sleep(5.0)
    await at.pipeline.stop(10.0)
    assert asyncio.get_running_loop().time() == pytest.approx(15.0, abs=0.5)
    assert at.committed() == 0


async def test_a_stop_does_not_wait_for_ever_for_a_commit(at: Piped) -> None:
    at.source.assign()
    at.source.commit_error = DOWN
    await at.pipeline.stop(5.0)
    assert asyncio.get_running_loop().time() <= 7.0


async def test_a_stop_in_the_middle_of_a_handover_ends_it(at: Piped) -> None:
    await leaving(at)
    await at.pipeline.stop(5.0)
    assert (at.committed(), at.queues) == (0, [])


async def test_a_stop_before_anything_was_assigned_just_leaves(at: Piped) -> None:
    await at.pipeline.stop(5.0)
    assert at.source.is_closed


async def test_a_committer_ends_though_a_commit_is_asked_for_in_the_same_turn(at: Piped) -> None:
    task = asyncio.create_task(at.pipeline.committer.run())
    await asyncio.sleep(0.05)
    at.pipeline.committer.wake()
    await asyncio.sleep(0)
    task.cancel()
    assert (await asyncio.wait([task], timeout=5.0))[0]


# What it says


async def test_a_stage_that_ends_is_seen() -> None:
    at = Piped(settings())
    at.source.start_error = KafkaRefused("not permitted to read group billing")
    await at.pipeline.start()
    await at.joined()
    assert (at.pipeline.state, at.pipeline.reason) == ("failed", "not permitted to read group billing")
    await at.pipeline.stop(1.0)


async def test_a_pipeline_says_how_it_is(at: Piped) -> None:
    at.adapter.answer = lambda delivery: None if delivery.record.offset == 5 else DELIVERED
    at.feed(*KEYS)
    await asyncio.sleep(3.0)
    said = at.pipeline.statistics()
    assert (said.name, said.state, said.reason, said.in_flight, said.endpoint.state) == (
        "billing",
        "running",
        "",
        1,
        "up",
    )
    (partition,) = said.partitions
    assert (partition.next_offset, partition.committed, partition.fetched_to) == (5, 5, 20)
    assert (partition.lag_records, partition.pending_records, partition.in_flight) == (15, 1, 1)
    assert partition.lag_s == pytest.approx(3.0)
    assert partition.oldest_unfinished_age_s == pytest.approx(3.0, abs=0.1)
    assert said.deliveries == {"delivered": 19}
    assert set(said.stages) >= {"reader", "pending_queue", "order_iterator", "writer", "committer"}
    at.source.waiting = "joining the group"
    assert at.pipeline.statistics().state == "waiting"


async def test_a_record_without_a_time_has_been_waiting_since_it_was_read(at: Piped) -> None:
    at.adapter.answer = lambda _: None
    at.source.produce(b"a")
    at.source.log[(at.source.assign().tp)][0].timestamp = -1
    await asyncio.sleep(3.0)
    (partition,) = at.pipeline.statistics().partitions
    assert partition.lag_s == pytest.approx(3.0, abs=0.1)
