"""The DeadLetterWriter with a topic in memory, in virtual time; jitter is 1."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from typing_extensions import override

from mpsd.config import Ordering
from mpsd.core.dead_letter import Sender
from mpsd.core.lanes import Event, move
from mpsd.core.retry import DeadLetterRequest, Disposition, RetryRules
from mpsd.core.states import DeliveryState
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.pipeline.control.blocks import BlockedKeys
from mpsd.pipeline.dead_letter_writer import DEAD_LETTERS_PER_WRITE_MAX, DLQ_BLOCKED, DeadLetterWriter
from mpsd.pipeline.pending_queue import Cause, PartitionQueue, PendingQueue
from mpsd.ports import DeadLetter
from tests.fakes.clock import loop_clock
from tests.fakes.control import NO_CONTROL
from tests.fakes.dead_letters import FakeDeadLetters
from tests.fakes.records import take
from tests.fakes.stage import Stage

SENDER = Sender(subscription="billing", group="billing-group", endpoint="http://billing:8000/orders")
RULES = RetryRules(attempts_max=1, backoff_initial_s=1.0, backoff_max_s=8.0)
REJECTED = DeadLetterRequest(disposition=Disposition.REJECTED, reason="no such customer")
DOWN = KafkaUnavailable("not enough replicas")


class Resumed(PendingQueue):
    """A PendingQueue that remembers the partitions that nothing stops any more."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(Ordering(), 1000, 1 << 30, stage.budget, stage.on_ready, lambda: None)
        self.resumed: list[PartitionQueue] = []

    @override
    def resume_partition(self, queue: PartitionQueue, cause: Cause) -> None:
        super().resume_partition(queue, cause)
        if not queue.stopped_by:
            self.resumed.append(queue)


class DeadLettering:
    """A writer at work, and the partitions it lets go."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.sink = FakeDeadLetters()
        self.stage.pending = pending = Resumed(self.stage)
        self.released = pending.resumed
        blocked = BlockedKeys(SENDER.group, SENDER.subscription, 0, NO_CONTROL, self.stage.pending)
        self.writer = DeadLetterWriter(self.sink, SENDER, RULES, self.stage.pending, blocked, loop_clock())

    def read(self, queue: PartitionQueue, records: int) -> None:
        self.stage.read(queue, *[b"%d" % number for number in range(records)])

    def dead_letter(self, queue: PartitionQueue, *offsets: int) -> None:
        for offset in offsets:
            delivery = queue.tracker.unfinished[offset]
            take(queue.lanes, delivery)
            move(delivery, Event.DEAD_LETTER)
            queue.dead_letter_pending += 1
            self.writer.dead_letter(queue, delivery, REJECTED)

    def opened(self, partition: int = 0, records: int = 10) -> PartitionQueue:
        queue = self.stage.open(partition)
        self.read(queue, records)
        return queue


@pytest.fixture
async def at() -> AsyncIterator[DeadLettering]:
    made = DeadLettering()
    task = asyncio.create_task(made.writer.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def refusing(*offsets: int) -> Callable[[DeadLetter], Exception | None]:
    """Return a topic that takes all dead letters but these."""
    return lambda dead_letter: DOWN if dead_letter.delivery.record.offset in offsets else None


async def test_a_record_is_finished_when_its_dead_letter_is_written_and_not_before(at: DeadLettering) -> None:
    queue = at.opened()
    at.sink.takes_s = 5.0
    at.dead_letter(queue, 0)
    await asyncio.sleep(4.0)
    assert queue.tracker.next_offset == 0
    await asyncio.sleep(2.0)
    assert (queue.tracker.next_offset, queue.dead_letter_pending) == (1, 0)
    assert at.writer.written == {"rejected": 1}
    assert dict(at.sink.dead_letters[0].headers)["mps-dlq-reason"] == b"no such customer"


async def test_dead_letters_are_written_together_up_to_a_bound(at: DeadLettering) -> None:
    queue = at.opened(records=DEAD_LETTERS_PER_WRITE_MAX + 1)
    at.dead_letter(queue, *range(DEAD_LETTERS_PER_WRITE_MAX + 1))
    assert await at.writer.settled([queue.assignment], 60.0)
    assert at.sink.writes == [DEAD_LETTERS_PER_WRITE_MAX, 1]
    assert at.writer.statistics() == {"waiting": 0, "written": DEAD_LETTERS_PER_WRITE_MAX + 1, "failures": 0}


async def test_while_the_topic_is_down_its_partition_waits_and_goes_on_by_itself(at: DeadLettering) -> None:
    queue, other = at.opened(0), at.opened(1)
    at.sink.refuse = lambda _: DOWN
    at.dead_letter(queue, 0)
    await asyncio.sleep(60.0)
    assert (queue.stopped_by, other.stopped_by) == (DLQ_BLOCKED, "")
    assert queue.tracker.next_offset == 0
    assert at.writer.failures == len(at.sink.writes)
    assert 8 <= len(at.sink.writes) <= 12
    at.sink.refuse = lambda _: None
    await asyncio.sleep(8.0)
    assert (queue.stopped_by, queue.tracker.next_offset, at.released) == ("", 1, [queue])


async def test_a_dead_letter_that_cannot_be_written_holds_its_partition_though_others_of_it_can(
    at: DeadLettering,
) -> None:
    queue = at.opened()
    for refused in (0, 9):
        at.sink.refuse = refusing(refused)
        at.dead_letter(queue, refused)
        at.dead_letter(queue, *([1, 2, 3] if refused == 0 else [4, 5, 6]))
        await asyncio.sleep(0.1)
        assert queue.stopped_by == DLQ_BLOCKED
        assert at.released == []
        await asyncio.sleep(30.0)
        assert queue.stopped_by == DLQ_BLOCKED
        at.dead_letter(queue, 7 if refused == 0 else 8)
        await asyncio.sleep(30.0)
        assert queue.stopped_by == DLQ_BLOCKED
        assert refused in queue.tracker.unfinished
        at.sink.refuse = lambda _: None
        await asyncio.sleep(10.0)
        assert (queue.stopped_by, at.released) == ("", [queue])
        at.released.clear()
    assert not queue.tracker.unfinished


async def test_two_dead_letters_that_cannot_be_written_hold_until_both_are(at: DeadLettering) -> None:
    queue = at.opened()
    at.sink.refuse = lambda _: DOWN
    at.dead_letter(queue, 0, 1)
    await asyncio.sleep(10.0)
    at.sink.refuse = refusing(0)
    await asyncio.sleep(30.0)
    assert (queue.stopped_by, at.released) == (DLQ_BLOCKED, [])
    at.sink.refuse = lambda _: None
    await asyncio.sleep(10.0)
    assert (queue.stopped_by, at.released) == ("", [queue])


async def test_the_reason_of_another_hold_is_left_alone(at: DeadLettering) -> None:
    queue = at.opened()
    queue.stop(DeliveryState.DRAINING)
    at.sink.refuse = lambda _: DOWN
    at.dead_letter(queue, 0)
    await asyncio.sleep(10.0)
    assert queue.stopped_by == "draining"
    at.sink.refuse = lambda _: None
    await asyncio.sleep(10.0)
    assert (queue.stopped_by, at.released, queue.tracker.next_offset) == ("draining", [], 1)


async def test_the_dead_letters_of_a_partition_that_is_gone_are_not_written(at: DeadLettering) -> None:
    queue, other = at.opened(0), at.opened(1)
    at.sink.refuse = lambda _: DOWN
    at.dead_letter(queue, 0)
    await asyncio.sleep(0.5)
    at.stage.pending.discard(queue.assignment)
    at.writer.forget(queue.assignment)
    assert at.writer.statistics()["waiting"] == 0
    at.sink.refuse = lambda _: None
    at.dead_letter(other, 1)
    assert await at.writer.settled([other.assignment], 60.0)
    assert [dead_letter.delivery.assignment for dead_letter in at.sink.dead_letters] == [other.assignment]


async def test_a_partition_that_goes_while_its_dead_letters_are_written_is_left_alone(at: DeadLettering) -> None:
    queue = at.opened()
    at.sink.takes_s = 5.0
    at.dead_letter(queue, 0)
    await asyncio.sleep(1.0)
    at.stage.pending.discard(queue.assignment)
    at.writer.forget(queue.assignment)
    await asyncio.sleep(10.0)
    assert queue.tracker.next_offset == 0
    assert at.writer.written == {}


async def test_whoever_waits_for_the_dead_letters_is_told_whether_they_were_written_in_time(at: DeadLettering) -> None:
    queue, other = at.opened(0), at.opened(1)
    assert await at.writer.settled([queue.assignment], 0.0)
    at.sink.takes_s = 5.0
    at.dead_letter(queue, 0, 1)
    at.dead_letter(other, 0)
    assert not await at.writer.settled([queue.assignment], 4.0)
    assert await at.writer.settled([queue.assignment, other.assignment], 4.0)


async def test_nobody_waits_for_the_dead_letters_of_a_partition_that_is_gone(at: DeadLettering) -> None:
    queue = at.opened()
    at.sink.refuse = lambda _: DOWN
    at.dead_letter(queue, 0)
    waiting = asyncio.create_task(at.writer.settled([queue.assignment], 1000.0))
    await asyncio.sleep(1.0)
    at.stage.pending.discard(queue.assignment)
    at.writer.forget(queue.assignment)
    async with asyncio.timeout(1.0):
        assert await waiting


async def test_a_topic_that_cannot_be_made_ready_is_told_of_and_tried_again_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = DeadLettering()
    made.sink.prepare_error = KafkaRefused("not permitted to create the topic")
    queue = made.opened()
    task = asyncio.create_task(made.writer.run())
    made.dead_letter(queue, 0)
    assert await made.writer.settled([queue.assignment], 60.0)
    assert "not permitted" in caplog.text
    task.cancel()
