"""Replays of dead letters, as far as they concern the partitions that are here."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from mpsd.core.control import Entity, EntityKey
from mpsd.core.delivery import Assignment
from mpsd.core.offset_set import OffsetSet
from mpsd.core.rate import TokenBucket
from mpsd.core.record import TopicPartition
from mpsd.core.replay import ReplayPart, ReplayState, ReplayTask
from mpsd.core.replay_book import ReplayBook
from mpsd.core.replay_progress import REPLAYED, progress_key, replayed, replayed_key
from mpsd.errors import ControlOff, ControlUnavailable
from mpsd.pipeline.control.blocks import BlockedKeys
from mpsd.pipeline.control.controls import UNREAD
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.pipeline.replay.run import ReplayRun
from mpsd.pipeline.replay.sender import Means, Replaying
from mpsd.pipeline.settings import Settings
from mpsd.ports import Clock, Items

log = logging.getLogger("mpsd.replay")

SETTLED_BYTES_MOST = 1_000_000
"""Size that a record of the control topic may have, by Kafka's own default of 1 MiB."""
RETRY_S = 0.1
"""Rest between two tries of a report that somebody waits for."""


class Replays:
    """The replays of a subscription: a run of the oldest task that is not done on each partition, and its reports.

    Takes: tasks and reports, by way of the book.
    Gives: records to the lanes of their partitions; reports to the control topic.
    Holds at most: one run for each assigned partition.

    Attributes:
        finished: dead letters that replays of this daemon have settled since its start, by result.
    """

    def __init__(
        self,
        settings: Settings,
        replaying: Replaying,
        pending: PendingQueue,
        blocked: BlockedKeys,
        lease_left_s: Callable[[], float],
        clock: Clock,
    ) -> None:
        self._group = settings.sender.group
        self.book = ReplayBook(self._group, settings.name)
        self._interval_s = settings.commit_interval_s
        self.rules = replaying
        self.subscription = settings.name
        self._means = Means(
            rules=replaying,
            subscription=settings.name,
            pending=pending,
            blocked=blocked,
            may_write=lambda: lease_left_s() > 0,
            monotonic_s=clock.monotonic_s,
        )
        self.finished = self._means.finished
        self._monotonic_s, self._wall_s = clock.monotonic_s, clock.wall_s
        self._runs: dict[Assignment, ReplayRun] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._samples: dict[str, deque[Sample]] = {}
        self._share = 1.0
        self._due = asyncio.Event()
        self._one = asyncio.Lock()
        self._is_stopping = False

    def on_entity(self, key: EntityKey, entity: Entity | None) -> None:
        """Take a changed entity, and look at the tasks soon if a task changed."""
        if self.book.on_entity(key, entity):
            self._due.set()

    def on_share(self, share: float) -> None:
        """See `AssignmentListener`."""
        self._share = share
        for task, bucket in self._buckets.items():
            if (known := self.book.tasks.get(task)) is not None:
                bucket.set_rate(self._rate(known), self._monotonic_s())

    async def run(self) -> None:
        """Begin, report and conclude runs until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._due.wait()
            self._due.clear()
            if self._runs or self.book.overridden or self.book.running():
                await self._look()

    async def hand_on(self, assignment: Assignment, timeout_s: float) -> None:
        """Report how far a partition is that leaves, so that the next owner repeats nothing."""
        if (run := self._runs.get(assignment)) is None:
            return
        await run.halt()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, timeout_s)):
                while run.has_news():
                    if not await self._report([run]):
                        await asyncio.sleep(RETRY_S)

    def forget(self, assignment: Assignment) -> None:
        """Abandon the run of a partition that is no longer ours."""
        if (run := self._runs.pop(assignment, None)) is not None:
            run.abandon()

    async def stop(self, timeout_s: float) -> None:
        """Report all runs for the last time."""
        self._is_stopping = True
        await asyncio.gather(*(self.hand_on(assignment, timeout_s) for assignment in list(self._runs)))
        await self.rules.log.close()
        await self.rules.republisher.close()

    async def _look(self) -> None:
        for run in self._runs.values():
            known = self.book.tasks.get(run.task.id)
            if known is None or known.state is not ReplayState.RUNNING:
                run.end()
        await self._report([run for run in self._runs.values() if run.has_news()])
        await self._report_overridden()
        for assignment, run in list(self._runs.items()):
            if (problem := run.problem()) is not None:
                raise problem
            if run.failure:
                await self._conclude(run.task, ReplayState.FAILED, run.failure)
            if run.is_through and not run.is_dirty:
                del self._runs[assignment]
        for task in self.book.running():
            if self.book.total(task).is_done:
                await self._conclude(task, ReplayState.DONE, "")
        if not self._is_stopping:
            self._begin()
        self._sample()
        for gone in self._buckets.keys() - {task.id for task in self.book.running()}:
            del self._buckets[gone]

    def _begin(self) -> None:
        """Begin a run for each partition that has none and is known not to be anybody else's."""
        undone: dict[TopicPartition, tuple[ReplayTask, ReplayPart]] = {}
        for task in self.book.running():
            for part in task.parts():
                report = self.book.report(task.id, part.source)
                if report is None or not report.done:
                    undone.setdefault(part.owner, (task, part))
        for assignment, queue in self._means.pending.queues.items():
            if assignment in self._runs or queue.is_leaving or UNREAD in queue.causes:
                continue
            if (found := undone.get(assignment.tp)) is not None:
                task, part = found
                bucket = self._buckets.setdefault(task.id, TokenBucket(self._rate(task), self._monotonic_s()))
                self._runs[assignment] = ReplayRun(task, part, queue, self.book, bucket, self._means, self._report)

    def _rate(self, task: ReplayTask) -> float | None:
        rate = task.plan.rate_max_per_s
        return rate * self._share if rate else None

    async def _report(self, runs: Sequence[ReplayRun]) -> bool:
        """Write how far runs are; the settled offsets first, so that they are not offered again if only half is written."""
        if not runs:
            return True
        if not self._means.may_write():
            return False
        async with self._one:
            items: list[tuple[EntityKey, Mapping[str, Any] | None]] = []
            written = []
            for run in runs:
                run.is_dirty = False
                progress, settled = run.progress(), replayed(run.settled, run.queue.assignment.epoch)
                size = len(settled.offsets)
                if size > self.rules.replayed_bytes_max:
                    run.end()
                    run.failure = (
                        f"what was replayed of {run.source} takes more than control.replayed_bytes_max to remember"
                    )
                if size <= SETTLED_BYTES_MOST:  # what goes beyond the bound in one interval is settled all the same
                    key = replayed_key(self._group, run.task.subscription, run.source, run.number)
                    items.append((key, REPLAYED.document(settled)))
                items.append((progress_key(run.task, run.source), progress.document()))
                written.append((run, progress, settled))
            if not await self._record(items):
                for run in runs:
                    run.is_dirty = True
                return False
            for run, progress, settled in written:
                self.book.see_report(run.task.id, run.source, progress)
                self.book.see_settled((run.source, run.number), settled)
        return True

    async def _report_overridden(self) -> None:
        """Write our reports again that a member wrote over which has lost the partition."""
        ours = {assignment.tp for assignment in self._means.pending.queues}
        for task_id, source in list(self.book.overridden):
            self.book.overridden.discard((task_id, source))
            task, report = self.book.tasks.get(task_id), self.book.report(task_id, source)
            if task is None or report is None:
                continue
            if any(part.source == source and part.owner in ours for part in task.parts()):
                await self._record([(progress_key(task, source), report.document())])

    async def _conclude(self, task: ReplayTask, state: ReplayState, reason: str) -> None:
        """Record the end of a task; several members may do so at once, and write the same."""
        known = self.book.tasks.get(task.id)
        if known is None or known.state.is_over:
            return
        ended = replace(known, state=state, reason=reason, ended_at_ms=int(self._wall_s() * 1000))
        if await self._record([(ended.key, ended.document())]):
            self.book.tasks[task.id] = ended
            if state is ReplayState.FAILED:
                failed = {"code": "replay.failed", "subscription": self._means.subscription}
                log.error("replay %s failed: %s", task.id, reason, extra=failed)
            else:
                done = {"code": "replay.done", "subscription": self._means.subscription}
                log.info("replay %s ended: every partition is done", task.id, extra=done)

    async def _record(self, items: Items) -> bool:
        try:
            await self.rules.record(items)
        except (ControlUnavailable, ControlOff) as error:
            extra = {"code": error.code, "subscription": self._means.subscription}
            log.warning("the progress of replays was not written: %s; retrying", error, extra=extra)
            return False
        return True

    def run_of(self, assignment: Assignment) -> ReplayTask | None:
        """Return the task that is at work on a partition, or has records there that are not settled."""
        run = self._runs.get(assignment)
        return run.task if run is not None else None

    def waiting(self, task: ReplayTask) -> str:
        """Return why a run of the task waits at this daemon; empty if none does."""
        return next((run.waiting for run in self._runs.values() if run.task.id == task.id and run.waiting), "")

    def settled(self, queue: PartitionQueue, number: int) -> OffsetSet:
        """Return the offsets that replays have settled of a dead-letter partition, as of now; to be read only."""
        run = self._run_at(queue, number)
        return run.settled if run is not None else self.book.settled((queue.assignment.tp, number))

    def _run_at(self, queue: PartitionQueue, number: int) -> ReplayRun | None:
        """Return the run over the queue's own dead letters in a dead-letter partition."""
        run = self._runs.get(queue.assignment)
        return run if run is not None and (run.source, run.number) == (queue.assignment.tp, number) else None

    async def settle(self, queue: PartitionQueue, number: int, dead_letters: Sequence[int]) -> None:
        """Settle dead letters without a delivery; of a partition that is ours, while no run has one of them in hand.

        Raises:
            ControlUnavailable, ControlOff: they may be settled or not; ask again.
        """
        place = queue.assignment.tp, number
        async with self._one:
            if not self._means.may_write():
                raise ControlUnavailable("this member is not sure of its partitions now: nothing was changed")
            known = self.settled(queue, number)
            settled = OffsetSet(known.base, known.runs, known.topic_id)
            for dead_letter in dead_letters:
                settled.add(dead_letter)
            document = replayed(settled, queue.assignment.epoch)
            key = replayed_key(self._group, self._means.subscription, *place)
            await self.rules.record([(key, REPLAYED.document(document))])
            self.book.see_settled(place, document)
            if (run := self._run_at(queue, number)) is not None:
                for dead_letter in dead_letters:
                    run.settled.add(dead_letter)

    def speed(self, task: ReplayTask) -> tuple[float, float | None]:
        """Return the speed of a task in the last `SPEED_S`: see `speed_of`."""
        return speed_of(self._samples.get(task.id, ()))

    def _sample(self) -> None:
        now_s, running = self._monotonic_s(), self.book.running()
        self._samples = {task.id: self._samples.get(task.id, deque()) for task in running}
        for task in running:
            counts, left, _ = self.book.total(task)
            samples = self._samples[task.id]
            samples.append(Sample(now_s, counts.sent, left))
            while samples[0].at_s < now_s - SPEED_S:
                samples.popleft()

    def unfinished(self) -> Sequence[ReplayTask]:
        """Return the tasks that are not over, the oldest first."""
        tasks = (task for task in self.book.tasks.values() if not task.state.is_over)
        return sorted(tasks, key=lambda task: (task.started_at_ms, task.id))


SPEED_S = 10.0
"""Time of which a speed is the mean."""


class Sample(NamedTuple):
    """The position of a task at a moment."""

    at_s: float
    sent: int
    left: int


def speed_of(samples: Sequence[Sample]) -> tuple[float, float | None]:
    """Return the records sent a second, and the seconds left at that speed; None: unknown."""
    if not samples or samples[-1].at_s <= samples[0].at_s:
        return 0.0, None
    first, last = samples[0], samples[-1]
    took_s = last.at_s - first.at_s
    looked_per_s = (first.left - last.left) / took_s
    left_s = last.left / looked_per_s if looked_per_s > 0 else None
    return max(0, last.sent - first.sent) / took_s, left_s
