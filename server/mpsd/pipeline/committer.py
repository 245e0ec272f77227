"""Commit the offsets that the OffsetTrackers have reached."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from mpsd.core.delivery import Assignment
from mpsd.core.offset_map import UNPROVEN_UNITS, padded
from mpsd.errors import CommitFenced, KafkaRefused, KafkaUnavailable, MetadataTooLarge
from mpsd.pipeline.offset_maps import OffsetMaps
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.ports import CommitPoint, RecordSource

log = logging.getLogger("mpsd.committer")

RETRY_S = 0.1
"""Rest between two tries of a commit that somebody waits for."""


class Committer:
    """A stage that commits what changed: every `interval_s`, when a partition leaves, and at the end.

    Takes: snapshots of the OffsetTrackers, as OffsetMaps writes them.
    Gives: commit points to the broker.
    Holds at most: one commit under way.

    Attributes:
        is_proven: the broker has taken a text of the full length beside a commit.
    """

    def __init__(
        self,
        subscription: str,
        source: RecordSource,
        pending: PendingQueue,
        maps: OffsetMaps,
        interval_s: float,
    ) -> None:
        self._subscription = subscription
        self._source = source
        self._pending = pending
        self._maps = maps
        self._interval_s = interval_s
        self._lock = asyncio.Lock()
        self._done: dict[Assignment, tuple[object, CommitPoint]] = {}
        self._moving: set[Assignment] = set()
        self._due = asyncio.Event()
        self.commits = 0
        self.failures = 0
        self.is_proven = False
        unproven = maps.space._replace(units_max=min(UNPROVEN_UNITS, maps.space.units_max))
        pending.map_bits_max = unproven.worst_bits_max

    def wake(self) -> None:
        """Commit soon: at a first assignment, so that where the group begins is not forgotten."""
        self._due.set()

    def forget(self, assignment: Assignment) -> None:
        """Forget a partition that is no longer ours."""
        self._done.pop(assignment, None)
        self._moving.discard(assignment)
        self._maps.forget(assignment)

    def stays(self, assignment: Assignment) -> None:
        """Commit a partition as its own tracker says again, because it does not move after all."""
        self._moving.discard(assignment)

    async def run(self) -> None:
        """Commit every `interval_s` until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):  # `wait_for` of Python 3.11 may swallow a cancellation
                    await self._due.wait()
            self._due.clear()
            await self.commit(self._pending.queues)

    async def commit(self, assignments: Collection[Assignment]) -> bool:
        """Commit what changed of these.

        Returns:
            Whether all of it is committed now.
        """
        async with self._lock:
            points = {a: point for a in assignments if (point := self._point(a)) is not None}
            if not points:
                return True
            sent = points if self.is_proven else self._padded(points)
            states = {assignment: self._state(self._pending.queues[assignment]) for assignment in points}
            try:
                await self._source.commit(sent)
            except MetadataTooLarge as error:
                self.failures += 1
                self._shrink(error)
                self._due.set()
                return False
            except (CommitFenced, KafkaUnavailable, KafkaRefused) as error:
                self.failures += 1
                extra = {"code": error.code, "subscription": self._subscription}
                log.warning("cannot commit now: %s; nothing is lost, it is tried again", error, extra=extra)
                return False
            self.commits += 1
            self._prove()
            for assignment, point in points.items():
                queue = self._pending.queues.get(assignment)
                if queue is not None:
                    queue.committed = point.next_offset
                    self._done[assignment] = states[assignment], point
            return True

    async def commit_at(self, assignment: Assignment, point: CommitPoint, then: Callable[[], None]) -> bool:
        """Commit another point than the partition's own; return True if that succeeded.

        A commit that failed may be there all the same: the partition's own point must not take it back until `stays`.

        Args:
            then: called if so, before anything else can be committed of it.
        """
        async with self._lock:
            self._moving.add(assignment)
            try:
                await self._source.commit({assignment: point})
            except (CommitFenced, KafkaUnavailable, KafkaRefused, MetadataTooLarge) as error:
                self.failures += 1
                extra = {"code": error.code, "subscription": self._subscription}
                log.warning("cannot commit now: %s; it is tried again", error, extra=extra)
                return False
            self.commits += 1
            then()
            return True

    async def commit_all(self, assignments: Collection[Assignment], timeout_s: float | None = None) -> bool:
        """Commit these, trying again while they are ours; return True if that succeeded within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    if await self.commit([a for a in assignments if a in self._pending.queues]):
                        return True
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            return False

    def _point(self, assignment: Assignment) -> CommitPoint | None:
        """Return the point to commit, None if it is committed already; costs nothing where nothing changed."""
        queue = self._pending.queues.get(assignment)
        if queue is None or assignment in self._moving:
            return None
        done, state = self._done.get(assignment), self._state(queue)
        if done is not None and done[0] == state:
            return None
        point = self._maps.point(assignment, queue.tracker)
        if done is not None and done[1] == point:
            self._done[assignment] = state, point
            return None
        return point

    def _padded(self, points: Mapping[Assignment, CommitPoint]) -> dict[Assignment, CommitPoint]:
        """Return them with one text at its full length: learned from a long map, the limit would come too late for it."""
        (assignment, point), *_ = points.items()
        whole = point._replace(metadata=padded(point.metadata, self._maps.space.units_max))
        return {**points, assignment: whole}

    def _prove(self) -> None:
        """Let maps become as long as configured, because the broker took a text of that length."""
        if not self.is_proven:
            self.is_proven = True
            self._pending.map_bits_max = self._maps.space.worst_bits_max

    def _shrink(self, error: MetadataTooLarge) -> None:
        """Shorten maps that the broker does not take: they must not keep the group from committing at all."""
        self._maps.shrink()
        if self.is_proven:
            self._pending.map_bits_max = self._maps.space.worst_bits_max
        log.error(
            "%s; trying with %d: tell commit.metadata_units_max what the broker's offset.metadata.max.bytes allows",
            error,
            self._maps.space.units_max,
            extra={"code": error.code, "subscription": self._subscription},
        )

    @staticmethod
    def _state(queue: PartitionQueue) -> object:
        """Return a value that differs whenever a commit could say something new.

        Attempts are charged, or spent by records that are being dead-lettered.
        """
        return queue.tracker.state, queue.charges, queue.dead_letter_pending

    def statistics(self) -> dict[str, float]:
        return {
            "commits": self.commits,
            "failures": self.failures,
            "attempts_left_out": self._maps.attempts_left_out,
            "metadata_units_max": self._maps.space.units_max,
        }
