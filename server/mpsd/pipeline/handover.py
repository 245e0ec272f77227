"""Hand a partition on: drained, committed, released, in this order, while everything else goes on."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial

from mpsd.core.delivery import Assignment
from mpsd.core.states import DeliveryState
from mpsd.pipeline.committer import RETRY_S, Committer
from mpsd.pipeline.dead_letter_writer import DeadLetterWriter
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.pipeline.replay.tasks import Replays
from mpsd.pipeline.settings import Settings
from mpsd.ports import Clock, CommitPoint, DeliveryAdapter, RecordSource

log = logging.getLogger("mpsd.pipeline")

LEAVING = DeliveryState.DRAINING
REPORT_S_MIN = 1.0
"""However long the deliveries took, how far a replay is may take this long to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exits:
    """The stages that must be done with a partition before it may move, in this order."""

    adapter: DeliveryAdapter
    dead_letters: DeadLetterWriter
    committer: Committer
    replays: Replays | None


class Handover:
    """The partitions that are leaving.

    Takes: partitions that must move.
    Gives: them back to the source, with everything that was finished committed.
    Holds at most: one task per partition that leaves.
    """

    def __init__(
        self,
        settings: Settings,
        source: RecordSource,
        pending: PendingQueue,
        exits: Exits,
        forget: Callable[[Assignment], None],
        on_ended: Callable[[asyncio.Task[None]], None],
        clock: Clock,
    ) -> None:
        """Begin with none leaving.

        Args:
            settings: `drain_timeout_s` is for deliveries in flight and dead letters under way; then they are aborted.
            forget: lets all stages forget a partition.
            on_ended: looks at a task that has ended, well or not.
        """
        self._subscription = settings.name
        self._drain_timeout_s = settings.drain_timeout_s
        self._source = source
        self._pending = pending
        self._adapter, self._dead_letters = exits.adapter, exits.dead_letters
        self._committer, self._replays = exits.committer, exits.replays
        self._forget = forget
        self._on_ended = on_ended
        self._clock = clock
        self._tasks: dict[Assignment, asyncio.Task[None]] = {}

    def begin(self, queue: PartitionQueue) -> None:
        """Start nothing new of it, and hand it on when what is under way has ended."""
        if not queue.is_leaving:
            self._leave(queue, self._hand_on(queue))

    def reset(self, queue: PartitionQueue, point: CommitPoint) -> None:
        """Hand it on from another point than where it stands; if it is leaving already, that is for its next owner."""
        if not queue.is_leaving:
            self._leave(queue, self._reset(queue, point))

    def _leave(self, queue: PartitionQueue, work: Coroutine[None, None, None]) -> None:
        queue.is_leaving = True
        queue.stop(LEAVING)
        task = asyncio.create_task(work, name=f"{queue.assignment.tp} leaving")
        task.add_done_callback(self._on_ended)
        self._tasks[queue.assignment] = task

    def cancel(self, assignment: Assignment) -> None:
        """Stop the handover of a partition that stays after all, or is lost already."""
        if (task := self._tasks.pop(assignment, None)) is not None:
            task.cancel()
        self._committer.stays(assignment)
        queue = self._pending.queues.get(assignment)
        if queue is not None and queue.is_leaving:
            queue.is_leaving = False
            queue.go_on(LEAVING)

    async def stop(self) -> None:
        """Cancel all; what was not handed on goes with the membership."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hand_on(self, queue: PartitionQueue) -> None:
        """Drain, commit and release; in another order the next owner would do finished work again."""
        assignment = queue.assignment
        deadline_s = self._clock.monotonic_s() + self._drain_timeout_s
        await self._adapter.revoke(assignment, self._drain_timeout_s)
        while self._pending.queues.get(assignment) is queue:
            await self._dead_letters.settled([assignment], deadline_s - self._clock.monotonic_s())
            await self._committer.commit_all([assignment])
            if self._is_committed(queue) or self._clock.monotonic_s() >= deadline_s:
                break
        await self._report_replay(assignment, deadline_s)
        if self._pending.queues.get(assignment) is not queue:
            return
        self._tasks.pop(assignment, None)
        self._forget(assignment)
        extra = {"code": "partition.revoked", "subscription": self._subscription, **assignment.tp._asdict()}
        log.info("%s: drained, committed and handed on", assignment.tp, extra=extra)
        self._source.release([assignment])

    async def _reset(self, queue: PartitionQueue, point: CommitPoint) -> None:
        """Drain, commit the point and release; what is under way when the offset moves would be settled in a wrong order."""
        assignment = queue.assignment
        deadline_s = self._clock.monotonic_s() + self._drain_timeout_s
        await self._adapter.revoke(assignment, self._drain_timeout_s)
        await self._dead_letters.settled([assignment], deadline_s - self._clock.monotonic_s())
        await self._report_replay(assignment, deadline_s)
        while self._pending.queues.get(assignment) is queue:
            if await self._committer.commit_at(assignment, point, partial(self._forget, assignment)):
                self._tasks.pop(assignment, None)
                extra = {"code": "partition.reset", "subscription": self._subscription}
                log.warning(
                    "%s: goes on from offset %d, as an operator said", assignment.tp, point.next_offset, extra=extra
                )
                self._source.release([assignment])
                return
            await asyncio.sleep(RETRY_S)

    async def _report_replay(self, assignment: Assignment, deadline_s: float) -> None:
        if self._replays is not None:
            await self._replays.hand_on(assignment, max(REPORT_S_MIN, deadline_s - self._clock.monotonic_s()))

    @staticmethod
    def _is_committed(queue: PartitionQueue) -> bool:
        """Return True if nothing was dead-lettered while the commit was under way, when the window of a lost record ended.

        A record that waits for room to block its key is for the next owner.
        """
        return queue.dead_letter_pending == queue.crowded and queue.committed == queue.tracker.next_offset
