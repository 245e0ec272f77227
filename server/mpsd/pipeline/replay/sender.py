"""Send replayed records into the lanes of a partition, at the rate of their task."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from mpsd.core.dead_letter_record import DeadLetterRecord
from mpsd.core.delivery import Assignment, Replayed, ReplayedDelivery
from mpsd.core.offset_set import OffsetSet
from mpsd.core.rate import TokenBucket
from mpsd.core.record import LogBounds, TopicPartition, record_bytes
from mpsd.core.replay import ReplayPart, ReplayTask
from mpsd.core.replay_progress import Counts
from mpsd.errors import DeadLetterTopicGone
from mpsd.pipeline.control.blocks import BlockedKeys
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.ports import DeadLetterLog, Items, Republisher

OUTSTANDING_MAX = 500
"""Replayed records of a partition that are not settled: enough to keep an application busy, and few enough to remember."""
ROOM_AT = OUTSTANDING_MAX * 3 // 4
"""A run that waits for room goes on from here: woken by each record, it would send one at a time."""
PACE_S = 0.02
"""Rest of a run whose rate is used up; records that may be sent by then go together, because a timer for each costs more."""
LOOK_S = 0.1
"""Longest delay until a run that waits for room notices a change that it is not told."""
ERROR_REST_S = 1.0


class Revived(NamedTuple):
    """A record as it was before it was dead."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaying:
    """The means with which a subscription replays.

    Attributes:
        topic: the dead-letter topic of the subscription.
        replays_max: a record that came back so often is quarantined.
        replayed_bytes_max: bound of the text that names the settled dead letters of a source partition.
        tasks_max: tasks that are remembered.
        record: writes to the control topic; raises ControlUnavailable or ControlOff.
    """

    topic: str
    log: DeadLetterLog
    republisher: Republisher
    replays_max: int
    replayed_bytes_max: int
    tasks_max: int
    record: Callable[[Items], Awaitable[int]]

    async def bounds(self, number: int) -> LogBounds:
        """Return the bounds of a partition of the dead-letter topic, as of now.

        Raises:
            DeadLetterTopicGone, KafkaUnavailable, KafkaRefused: see `DeadLetterLog`; also if there is no such partition.
        """
        return self.bounds_of(await self.log.bounds(), number)

    def bounds_of(self, bounds: Mapping[int, LogBounds], number: int) -> LogBounds:
        """Return the bounds of a partition of the dead-letter topic; raises DeadLetterTopicGone if there is no such partition."""
        if number not in bounds:
            raise DeadLetterTopicGone(f"dead-letter topic {self.topic} has no partition {number} any more")
        return bounds[number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """The means of all runs of a subscription.

    Attributes:
        may_write: returns True if the membership is confirmed, so that nobody else has the partition.
        finished: dead letters that replays of this daemon have settled since its start, by result.
    """

    rules: Replaying
    subscription: str
    pending: PendingQueue
    blocked: BlockedKeys
    may_write: Callable[[], bool]
    monotonic_s: Callable[[], float]
    finished: Counter[str] = field(default_factory=Counter)


class ReplaySender:
    """A maker of deliveries from the dead letters of a source partition, which says when they may go.

    Attributes:
        number: the partition of the dead-letter topic that has the dead letters of `source`.
        settled: dead letters that replays have settled.
        is_dirty: there is progress to be reported.
        outstanding: records that were sent and are not settled, at most `OUTSTANDING_MAX`.
    """

    def __init__(
        self,
        task: ReplayTask,
        part: ReplayPart,
        queue: PartitionQueue,
        settled: OffsetSet,
        counts: Counts,
        bucket: TokenBucket,
        means: Means,
    ) -> None:
        self.task = task
        self.queue = queue
        self.source, self.number = part.source, part.number
        self.settled = settled
        self.counts = counts
        self.means = means
        self.is_dirty = True
        self.outstanding = 0
        self._bucket = bucket
        self._origins: dict[TopicPartition, Assignment] = {}
        self._room = asyncio.Event()
        self._ending = asyncio.Event()

    @property
    def is_ending(self) -> bool:
        """Return True if nothing more is to be sent."""
        return self._ending.is_set()

    def end(self) -> None:
        """Send nothing more; what was sent is settled all the same."""
        self._ending.set()
        self._room.set()

    def revive(
        self, dead_letter: DeadLetterRecord, on_finished: Callable[[ReplayedDelivery], None], *, releases: bool = False
    ) -> ReplayedDelivery:
        """Return a delivery of the record as it was before it was dead."""
        key, value, headers = dead_letter.key, dead_letter.value, dead_letter.headers
        at = *dead_letter.source, dead_letter.source_offset
        record = Revived(*at, dead_letter.timestamp, key, value, headers)
        return ReplayedDelivery(
            record,
            self.queue.assignment,
            self.means.pending.lane_of(key),
            record_bytes(record),
            self.means.monotonic_s(),
            Replayed(
                replay=self.task.id,
                replays=dead_letter.replays,
                dead_letter_offset=dead_letter.offset,
                on_finished=on_finished,
                releases=releases,
                origin=self._origin(dead_letter.source),
                dead_letter_record_id=dead_letter.record_id,
            ),
        )

    def _origin(self, source: TopicPartition) -> Assignment:
        """Return the partition that an application is told: that of the record, which may exist no more."""
        own = self.queue.assignment
        if source == own.tp:
            return own
        return self._origins.setdefault(source, Assignment(source, own.epoch))

    async def has_room(self, size_bytes: int, flush: Callable[[], Awaitable[None]] | None = None) -> bool:
        """Wait until one more may be sent, and count it; False if none is to be sent any more.

        Args:
            flush: called before each wait: sends what was kept to be sent together.
        """
        while not self.is_ending:
            now_s = self.means.monotonic_s()
            is_too_large = bool(self.outstanding) and self.queue.bytes + size_bytes > self.means.pending.bytes_max
            is_full = is_too_large or self.outstanding >= OUTSTANDING_MAX or self.queue.is_leaving
            if not is_full and self._bucket.available(now_s) != 0:
                self._bucket.spend(1)
                self.outstanding += 1
                return True
            if flush is not None:
                await flush()
            if is_full:
                self._room.clear()
                await wait(self._room, LOOK_S)
            else:
                await self.rest(min(ERROR_REST_S, max(PACE_S, self._bucket.due_s(now_s) - now_s)))
        return False

    def finished(self, delivery: ReplayedDelivery) -> None:
        """Note a record that is accepted, written, or durably dead again."""
        self.settled.add(delivery.dead_letter_offset)
        self.means.finished["failed" if delivery.is_dead_again else "succeeded"] += 1
        if delivery.is_dead_again:
            self.counts.failed += 1
        else:
            self.counts.succeeded += 1
        self.give_back()
        self.is_dirty = True

    def give_back(self) -> None:
        """Make room for one, because a record is settled or was not sent after all."""
        self.outstanding -= 1
        if self.outstanding <= ROOM_AT:
            self._room.set()

    async def rest(self, timeout_s: float) -> None:
        """Rest for a time, or until nothing more is to be sent."""
        await wait(self._ending, timeout_s)


async def wait(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event or the time, whichever comes first."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):  # `wait_for` of Python 3.11 may swallow a cancellation
            await event.wait()
