"""The Reader between a source in memory and a PendingQueue that nobody empties, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from mpsd.core.delivery import Assignment
from mpsd.core.offset_tracker import OffsetTracker
from mpsd.core.record import RECORD_OVERHEAD_BYTES
from mpsd.errors import KafkaUnavailable
from mpsd.pipeline.pending_queue import PartitionQueue
from mpsd.pipeline.reader import Reader
from mpsd.ports import Peer, Position
from tests.fakes.clock import loop_clock
from tests.fakes.records import take
from tests.fakes.source import FakeSource
from tests.fakes.stage import Stage


class Reading:
    """`AssignmentListener` of its own: a partition that is assigned is read."""

    def __init__(self, records_max: int = 100, bytes_max: int = 1 << 30) -> None:
        self.stage = Stage(records_max=records_max, bytes_max=bytes_max)
        self.source = FakeSource()
        self.reader = Reader(self.source, self.stage.pending, "billing", loop_clock())

    def on_assigned(self, assignment: Assignment, position: Position) -> None:
        self.stage.pending.open(PartitionQueue(assignment, OffsetTracker(position.next_offset), -1, position.log_end))

    def on_leaving(self, assignment: Assignment) -> None: ...
    def on_stays(self, assignment: Assignment) -> None: ...
    def on_share(self, share: float) -> None: ...

    def on_peers(self, peers: Sequence[Peer]) -> None: ...
    def on_log_end(self, assignment: Assignment, log_end: int, stable_end: int) -> None: ...
    def on_unreadable(self, assignment: Assignment, offset: int, reason: str) -> None: ...

    def on_lost(self, assignment: Assignment) -> None: ...

    def assign(self, partition: int = 0) -> PartitionQueue:
        return self.stage.pending.queues[self.source.assign(partition)]

    def finish(self, queue: PartitionQueue, *offsets: int) -> None:
        for offset in offsets:
            delivery = queue.tracker.unfinished[offset]
            take(queue.lanes, delivery)
            self.stage.pending.finish(queue, delivery)


@asynccontextmanager
async def reading(records_max: int = 100, bytes_max: int = 1 << 30) -> AsyncIterator[Reading]:
    made = Reading(records_max, bytes_max)
    await made.source.start(made)
    task = asyncio.create_task(made.reader.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_records_are_read_as_they_come_and_holes_are_passed() -> None:
    async with reading() as at:
        at.source.produce(b"a", hole=3)
        queue = at.assign()
        await asyncio.sleep(1.0)
        at.source.produce(b"b", hole=2)
        await asyncio.sleep(1.0)
        assert (list(queue.tracker.unfinished), queue.tracker.end, queue.high_watermark) == ([0, 4], 7, 7)


async def test_a_full_partition_is_not_asked_for_and_polling_goes_on() -> None:
    async with reading(records_max=2) as at:
        at.source.produce(b"a", b"b", b"c")
        queue = at.assign()
        await asyncio.sleep(10.0)
        assert list(queue.tracker.unfinished) == [0, 1]
        assert at.source.fetches.count({0}) == 1
        assert len(at.source.fetches) >= 90
        assert at.reader.polled_at_s >= 9.8


async def test_what_did_not_fit_is_offered_again_before_anything_later_is_read() -> None:
    """The record was larger than the room left, while a smaller one behind it would have fitted."""
    async with reading(bytes_max=2 * RECORD_OVERHEAD_BYTES + 100) as at:
        at.source.produce(b"a", b"b" * 1000, hole=0)
        queue = at.assign()
        await asyncio.sleep(0.5)
        at.source.produce(b"c")
        await asyncio.sleep(0.5)
        assert list(queue.tracker.unfinished) == [0]
        assert at.stage.pending.has_room(queue)
        assert at.reader.statistics()["left_over"] == 1
        at.finish(queue, 0)
        await asyncio.sleep(0.5)
        assert list(queue.tracker.unfinished) == [1]
        at.finish(queue, 1)
        await asyncio.sleep(0.5)
        assert (list(queue.tracker.unfinished), queue.tracker.end) == ([2], 3)


async def test_a_partition_that_leaves_is_not_read_and_others_are() -> None:
    async with reading() as at:
        queue, other = at.assign(0), at.assign(1)
        queue.is_leaving = True
        await asyncio.sleep(1.0)
        at.source.produce(b"a", partition=0)
        at.source.produce(b"a", partition=1)
        await asyncio.sleep(1.0)
        assert (list(queue.tracker.unfinished), list(other.tracker.unfinished)) == ([], [0])


async def test_nothing_is_read_after_the_stop_and_the_membership_is_kept() -> None:
    async with reading() as at:
        queue = at.assign()
        at.reader.stop()
        await asyncio.sleep(1.0)
        at.source.produce(b"a")
        before = len(at.source.fetches)
        await asyncio.sleep(10.0)
        assert not queue.tracker.unfinished
        assert len(at.source.fetches) - before >= 90


async def test_what_was_left_over_of_a_partition_that_is_gone_is_dropped() -> None:
    for forgets in (True, False):
        async with reading(records_max=2) as at:
            at.source.produce(b"a", b"b", b"c")
            queue = at.assign()
            await asyncio.sleep(1.0)
            assert at.reader.statistics()["left_over"] == 1
            at.stage.pending.discard(queue.assignment)
            if forgets:
                at.reader.forget(queue.assignment)
            await asyncio.sleep(1.0)
            assert at.reader.statistics()["left_over"] == 0


async def test_records_of_a_partition_that_went_during_the_fetch_are_dropped() -> None:
    async with reading() as at:
        queue = at.assign()
        await asyncio.sleep(0.05)
        at.stage.pending.discard(queue.assignment)
        at.source.produce(b"a")
        await asyncio.sleep(1.0)
        assert not queue.tracker.unfinished


async def test_an_error_is_rested_on_and_then_reading_goes_on() -> None:
    async with reading() as at:
        at.source.fetch_error = KafkaUnavailable("no broker answers")
        at.source.produce(b"a")
        queue = at.assign()
        await asyncio.sleep(0.9)
        assert len(at.source.fetches) == 1
        await asyncio.sleep(0.3)
        assert list(queue.tracker.unfinished) == [0]


async def test_it_ends_though_room_comes_in_the_same_turn() -> None:
    async with reading() as at:
        task = asyncio.create_task(at.reader.run())
        await asyncio.sleep(0.05)
        at.reader.on_room()
        await asyncio.sleep(0)
        task.cancel()
        assert (await asyncio.wait([task], timeout=1.0))[0]
