"""One replay over one source partition: from its dead letters into its own lanes, or back into its topic."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from mpsd.core.dead_letter_record import DeadLetterRecord, parse, source_of
from mpsd.core.delivery import ReplayedDelivery, Trouble
from mpsd.core.offset_set import OffsetSet
from mpsd.core.offset_tracker import next_offset_after
from mpsd.core.rate import TokenBucket
from mpsd.core.record import LogBounds, LogPart, Record, TopicPartition, record_bytes
from mpsd.core.replay import ReplayTarget, ReplayTask
from mpsd.core.replay_progress import Progress, restored, snapshot
from mpsd.errors import DeadLetterTopicGone, KafkaRefused, KafkaUnavailable
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue

log = logging.getLogger("mpsd.replay")

RECORDS_PER_FETCH_MAX = 500
OUTSTANDING_MAX = 500
"""Replayed records of a partition that are not settled: enough to keep an application busy, and few enough to remember."""
ROOM_AT = OUTSTANDING_MAX * 3 // 4
"""A run that waits for room goes on from here: woken by each record, it would send one at a time."""
PACE_S = 0.02
"""How long a run rests when its rate is used up; what may be sent by then goes together, as a timer for each costs more."""
LOOK_S = 0.1
"""How late a run that waits for room notices what nobody tells it."""
ERROR_REST_S = 1.0


class DeadLetterLog(Protocol):
    """The dead-letter topic, read back. Raises DeadLetterTopicGone, KafkaUnavailable or KafkaRefused."""

    async def bounds(self) -> Mapping[int, LogBounds]:
        """What every partition has, as of now."""

    async def fetch(self, partition: int, offset: int, records_max: int) -> LogPart:
        """Records from an offset on; none, and the same offset again, if none came in a short while."""

    async def close(self) -> None: ...


class Republisher(Protocol):
    """Writes records to their source topics."""

    async def write(self, deliveries: Sequence[ReplayedDelivery]) -> None:
        """All of them, acknowledged by all in-sync replicas. Raises KafkaUnavailable or KafkaRefused: write all again."""

    async def close(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Revived:
    """A record as it was before it was dead."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What all runs of a subscription work with.

    Attributes:
        topic: the dead-letter topic.
        replays_max: what came back so often is quarantined.
        may_write: whether the membership is confirmed, so that nobody else has the partition.
    """

    topic: str
    subscription: str
    replays_max: int
    log: DeadLetterLog
    republisher: Republisher
    pending: PendingQueue
    may_write: Callable[[], bool]
    monotonic_s: Callable[[], float]


class ReplayRun:
    """Replays what matches, in the order of the dead-letter topic.

    Takes: dead letters of its source partition.
    Gives: their records to the lanes of the partition; progress.
    Holds at most: `OUTSTANDING_MAX` records that are not settled, one fetch, and what it remembers as settled.

    Attributes:
        outstanding: records that are not settled.
        is_dirty: there is progress to be reported.
        failure: why it cannot go on, in words; empty if it can.
    """

    def __init__(
        self,
        task: ReplayTask,
        queue: PartitionQueue,
        before: Progress | None,
        settled: OffsetSet,
        bucket: TokenBucket,
        means: Means,
    ) -> None:
        self.task = task
        self.queue = queue
        self.source = queue.assignment.tp
        self.number = task.dead_letter_partition(self.source)
        self._tp = TopicPartition(means.topic, self.number)
        self._bounds = task.bounds[self.number]
        self._tracker, self._counts = restored(before, self._tp, self._bounds)
        self.settled = settled
        self.settled.clip(self._bounds.start)
        self._bucket = bucket
        self._means = means
        self._room = asyncio.Event()
        self._ending = asyncio.Event()
        self._chunk: list[ReplayedDelivery] = []
        self.outstanding = 0
        self.is_dirty = True
        self.failure = ""
        self._reading = asyncio.create_task(self._run(), name=f"{self.source} replay {task.id}")

    @property
    def is_through(self) -> bool:
        """Nothing more comes of it, and all that it sent is settled."""
        return self._reading.done() and not self.outstanding

    def end(self) -> None:
        """Send nothing more; what was sent is settled all the same."""
        self._ending.set()
        self._room.set()

    def abandon(self) -> None:
        """Somebody else has the partition."""
        self.end()
        self._reading.cancel()

    async def halt(self) -> None:
        """The same, at once."""
        self.end()
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._reading, return_exceptions=True)

    def trouble(self) -> BaseException | None:
        """What ended it, if that was a bug."""
        return self._reading.exception() if self._reading.done() and not self._reading.cancelled() else None

    def progress(self) -> Progress:
        """As of now. What is left of the log before the bound counts as done only if it was read."""
        return snapshot(self._tracker, self._tp, self.queue.assignment.epoch, self._counts, self._bounds.end)

    async def _run(self) -> None:
        while not self._ending.is_set() and self._tracker.end < self._bounds.end:
            try:
                part = await self._means.log.fetch(self.number, self._tracker.end, RECORDS_PER_FETCH_MAX)
                await self._take_all(part)
            except DeadLetterTopicGone as error:
                self.failure = str(error)
                return
            except (KafkaUnavailable, KafkaRefused) as error:
                extra = {"code": error.code, "subscription": self._means.subscription}
                log.warning("%s: replay %s waits: %s", self.source, self.task.id, error, extra=extra)
                await _wait(self._ending, ERROR_REST_S)

    async def _take_all(self, part: LogPart) -> None:
        stop = min(part.next_offset, self._bounds.end)
        if not part.records and stop > self._tracker.end:  # retention was faster
            self._counts.expired += stop - self._tracker.end
            self.settled.clip(stop)
            self.is_dirty = True
        for record in part.records:
            if record.offset >= stop:
                break
            await self._take(record)
            if self._ending.is_set():
                return
            self._tracker.read_to(next_offset_after(record.offset))
        await self._flush()
        if not self._ending.is_set():
            self._tracker.read_to(stop)
            self.is_dirty = True

    async def _take(self, record: Record) -> None:
        """One that does not match, or is settled already, is passed by."""
        offset, plan = record.offset, self.task.plan
        if source_of(record) != self.source or (self._tracker.restored and self._tracker.was_finished(offset)):
            return
        letter = parse(record)
        if (
            not isinstance(letter, DeadLetterRecord)
            or letter.subscription != self.task.subscription
            or not plan.wants(letter)
            or plan.quarantines(letter, self._means.replays_max)
            or (not plan.again and offset in self.settled)
        ):
            return
        delivery = self._revive(letter)
        if letter.omitted is not None:
            self._counts.matched += 1
            self._counts.left_out += 1
            self._tracker.read(offset, delivery)
            self._tracker.finished(offset)
            return
        if not await self._has_room(delivery.size_bytes):
            return
        self._counts.matched += 1
        self._counts.sent += 1
        self._bucket.spend(1)
        self.outstanding += 1
        self._tracker.read(offset, delivery)
        if plan.target is ReplayTarget.TOPIC:
            self._chunk.append(delivery)
        else:
            self._means.pending.inject(self.queue, delivery)

    def _revive(self, letter: DeadLetterRecord) -> ReplayedDelivery:
        record = Revived(
            topic=letter.source.topic,
            partition=letter.source.partition,
            offset=letter.source_offset,
            timestamp=letter.timestamp,
            key=letter.key,
            value=letter.value,
            headers=letter.headers,
        )
        pending = self._means.pending
        delivery = ReplayedDelivery(
            record,
            self.queue.assignment,
            pending.ordering.lane(letter.key),
            record_bytes(record),
            self._means.monotonic_s(),
            replay=self.task.id,
            replays=letter.replays,
            letter_offset=letter.offset,
            on_finished=self._finished,
        )
        if attempts := self._tracker.restored_attempts.pop(letter.offset, 0):
            delivery.trouble = Trouble(attempts=attempts)
        return delivery

    def _finished(self, delivery: ReplayedDelivery) -> None:
        """It is accepted, written, or durably dead again."""
        self._tracker.finished(delivery.letter_offset)
        self.settled.add(delivery.letter_offset)
        if delivery.is_dead_again:
            self._counts.failed += 1
        else:
            self._counts.succeeded += 1
        self.outstanding -= 1
        self.is_dirty = True
        if self.outstanding <= ROOM_AT:
            self._room.set()

    async def _has_room(self, size_bytes: int) -> bool:
        """Wait until one more may be sent; False if none is to be sent any more."""
        pending = self._means.pending
        while not self._ending.is_set():
            now_s = self._means.monotonic_s()
            is_too_large = bool(self.outstanding) and self.queue.bytes + size_bytes > pending.bytes_max
            is_full = is_too_large or self.outstanding >= OUTSTANDING_MAX or self.queue.is_leaving
            if not is_full and self._bucket.available(now_s) != 0:
                return True
            await self._flush()
            if is_full:
                self._room.clear()
                await _wait(self._room, LOOK_S)
            else:
                await _wait(self._ending, min(ERROR_REST_S, max(PACE_S, self._bucket.due_s(now_s) - now_s)))
        return False

    async def _flush(self) -> None:
        """What goes to the topic is settled once it is acknowledged; until then it is tried again."""
        while self._chunk:
            try:
                if self._means.may_write():
                    await self._means.republisher.write(self._chunk)
                    written, self._chunk = self._chunk, []
                    for delivery in written:
                        self._finished(delivery)
                    return
            except (KafkaUnavailable, KafkaRefused) as error:
                extra = {"code": error.code, "subscription": self._means.subscription}
                log.warning("%s: replay %s waits: %s", self.source, self.task.id, error, extra=extra)
            await asyncio.sleep(ERROR_REST_S)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    """For the event or the time, whichever comes first."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):  # `wait_for` of Python 3.11 may swallow a cancellation
            await event.wait()
