"""Replay the dead letters of one source partition into its lanes, or back into its topic."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from mpsd.core.blocked_keys import BlockedKey, first_dead_letter
from mpsd.core.dead_letter_record import DeadLetterRecord, source_of
from mpsd.core.delivery import FailureHistory, ReplayedDelivery
from mpsd.core.offset_set import same_topic
from mpsd.core.offset_tracker import next_offset_after
from mpsd.core.rate import TokenBucket
from mpsd.core.record import LogBounds, Record, TopicPartition
from mpsd.core.replay import ReplayPart, ReplayTarget, ReplayTask
from mpsd.core.replay_book import ReplayBook
from mpsd.core.replay_progress import Progress, restored, snapshot
from mpsd.errors import DeadLetterTopicGone, KafkaRefused, KafkaUnavailable
from mpsd.pipeline.pending_queue import PartitionQueue
from mpsd.pipeline.replay.blocked_keys import BlockedKeyReplay
from mpsd.pipeline.replay.scan import DeadLetterScan, ScanPart
from mpsd.pipeline.replay.sender import ERROR_REST_S, LOOK_S, Means, ReplaySender

log = logging.getLogger("mpsd.replay")


class ReplayRun(ReplaySender):
    """A replay of the dead letters that match, in the order of their topic, and then of the blocked keys, each whole.

    Takes: dead letters of its source partition.
    Gives: their records to the lanes of the partition; progress.
    Holds at most: `OUTSTANDING_MAX` records that are not settled, one fetch, what it remembers as settled, and an offset
        for each blocked key.

    Attributes:
        failure: why the run cannot go on; empty if it can.
        waiting: why the run does not go on now; empty if it does.
    """

    def __init__(
        self,
        task: ReplayTask,
        part: ReplayPart,
        queue: PartitionQueue,
        book: ReplayBook,
        bucket: TokenBucket,
        means: Means,
        report: "Callable[[Sequence[ReplayRun]], Awaitable[bool]]",
    ) -> None:
        """Begin at once.

        Args:
            report: writes how far runs are; returns True if that is durable.
        """
        self._tp = TopicPartition(means.rules.topic, part.number)
        self._bounds = task.bounds[part.number]
        self._tracker, counts = restored(book.report(task.id, part.source), self._tp, self._bounds)
        settled = book.settled((part.source, part.number), task.topic_id)
        settled.clip(self._bounds.start)
        super().__init__(task, part, queue, settled, counts, bucket, means)
        self._report = partial(report, [self])
        self._sources = set(task.partitions()) if part.takes_strangers else None
        self._book = book
        self._log = LogBounds(0, 0)
        self._begins: dict[BlockedKey, int] = {}
        self._are_keys_done = False
        self._charges = queue.charges
        self._chunk: list[ReplayedDelivery] = []
        self.failure = ""
        self.waiting = ""
        self._reading = asyncio.create_task(self._run(), name=f"{self.source} replay {task.id}")

    @property
    def is_through(self) -> bool:
        """Return True if nothing more is sent, and all that was sent is settled."""
        return self._reading.done() and not self.outstanding

    def abandon(self) -> None:
        """End the run, because somebody else has the partition."""
        self.end()
        self._reading.cancel()

    async def halt(self) -> None:
        """Send nothing more, and return once the run has ended."""
        self.abandon()
        await asyncio.wait([self._reading])  # nothing else lets a cancellation of the caller through

    def problem(self) -> BaseException | None:
        """Return the bug that ended the run; None if none did."""
        return self._reading.exception() if self._reading.done() and not self._reading.cancelled() else None

    def has_news(self) -> bool:
        """Return True if there is progress to be reported; charged attempts are progress, because the next owner counts them."""
        if self.outstanding and self.queue.charges != self._charges:
            self._charges = self.queue.charges
            self.is_dirty = True
        return self.is_dirty

    def progress(self) -> Progress:
        """Return the progress as of now; the log before the bound counts as done only if it was read."""
        now = snapshot(self._tracker, self._tp, self.queue.assignment.epoch, self.counts, self._bounds.end)
        return replace(now, done=now.done and self._are_keys_done)

    async def _run(self) -> None:
        while not self.is_ending and not self._are_keys_done:
            try:
                async for part in self._scan():
                    if not same_topic(self.task.topic_id, self.means.rules.log.topic_id):
                        raise DeadLetterTopicGone(
                            f"dead-letter topic {self.means.rules.topic} was deleted and recreated"
                        )
                    await self._take_all(part)
                    self.waiting = ""
                    if self.is_ending:
                        return
                await self._release_keys()
                self.waiting = ""
            except DeadLetterTopicGone as error:
                self.failure = str(error)
                return
            except (KafkaUnavailable, KafkaRefused) as error:
                self._wait_for(error)
                await self.rest(ERROR_REST_S)

    def _wait_for(self, error: KafkaUnavailable | KafkaRefused) -> None:
        self.waiting = f"waits: {error}"
        extra = {"code": error.code, "subscription": self.means.subscription}
        log.warning("%s: replay %s waits: %s", self.source, self.task.id, error, extra=extra)

    def _scan(self) -> DeadLetterScan:
        """Return a scan of the dead letters that are still to be read."""
        rest = LogBounds(self._tracker.end, self._bounds.end)
        return DeadLetterScan(self.means.rules.log, self.number, rest, {self.task.subscription}, self._is_meant)

    async def _release_keys(self) -> None:
        """Replay the blocked keys; only those of the owner's own partition can be blocked."""
        while self.outstanding and not self.is_ending:
            # one that dies again may be of a key that is blocked now
            await self.rest(LOOK_S)
        is_without = self.source != self.queue.assignment.tp or self.task.plan.target is ReplayTarget.TOPIC
        if is_without or await BlockedKeyReplay(self, self._report).run():
            self._are_keys_done = self.is_dirty = True

    def _is_meant(self, record: Record) -> bool:
        source = source_of(record)
        return source == self.source or (self._sources is not None and source not in self._sources)

    async def _take_all(self, part: ScanPart) -> None:
        if part.expired:
            self.counts.expired += part.expired
            self.settled.clip(part.next_offset)
            self.is_dirty = True
        for dead_letter in part.dead_letters:
            await self._take(dead_letter)
            if self.is_ending:
                return
            self._tracker.read_to(next_offset_after(dead_letter.offset))
        await self._flush()
        if not self.is_ending:
            self._tracker.read_to(part.next_offset)
            self.is_dirty = True

    async def _take(self, dead_letter: DeadLetterRecord) -> None:
        """Send a dead letter that matches the plan and is not settled."""
        offset, plan, source = dead_letter.offset, self.task.plan, dead_letter.source
        if (
            (self._tracker.restored and self._tracker.was_finished(offset))
            or not plan.wants(dead_letter)
            or plan.quarantines(dead_letter, self.means.rules.replays_max)
            or (not plan.again and offset in self.settled)
            # one of a stranger, while its partition had an owner of its own
            or (not plan.again and source != self.source and self._book.is_settled(self.number, offset))
            or (source == self.queue.assignment.tp and await self._is_blocked(dead_letter))
        ):
            return
        if plan.target is ReplayTarget.TOPIC and dead_letter.source.topic not in self.task.sources:
            self.failure = (
                f"dead letter {dead_letter.tp}@{dead_letter.offset} is of topic {dead_letter.source.topic},"
                " which is not read any more: replay to the application"
            )
            self.end()
            return
        delivery = self.revive(dead_letter, self._finished)
        if attempts := self._tracker.restored_attempts.pop(dead_letter.offset, 0):
            delivery.failures = FailureHistory(attempts=attempts)
        if dead_letter.omitted is not None:
            self.counts.matched += 1
            self.counts.left_out += 1
            self._tracker.read(offset, delivery)
            self._tracker.finished(offset)
            return
        if not await self.has_room(delivery.size_bytes, self._flush):
            return
        self.counts.matched += 1
        self.counts.sent += 1
        self._tracker.read(offset, delivery)
        if plan.target is ReplayTarget.TOPIC:
            self._chunk.append(delivery)
        else:
            self.means.pending.inject(self.queue, delivery)

    async def _is_blocked(self, dead_letter: DeadLetterRecord) -> bool:
        """Return True if the dead letter is of a blocked key and died since; such a key is replayed whole, or not at all."""
        blocked = self.queue.blocked.get(dead_letter.key) if dead_letter.key is not None else None
        if blocked is None:
            return False
        if blocked not in self._begins:
            if blocked.dead_letter_offset >= self._log.end:  # it may be blocked since that was asked
                self._log = await self.means.rules.bounds(self.number)
            self._begins[blocked] = first_dead_letter(blocked, self.number, self._log)
        return dead_letter.offset >= self._begins[blocked]

    def _finished(self, delivery: ReplayedDelivery) -> None:
        """Note a record that is accepted, written, or durably dead again."""
        self._tracker.finished(delivery.dead_letter_offset)
        self.finished(delivery)

    async def _flush(self) -> None:
        """Write to the source topic, again and again until it is acknowledged."""
        while self._chunk:
            try:
                if self.means.may_write():
                    await self.means.rules.republisher.write(self._chunk)
                    written, self._chunk = self._chunk, []
                    for delivery in written:
                        self._finished(delivery)
                    self.waiting = ""
                    return
            except (KafkaUnavailable, KafkaRefused) as error:
                self._wait_for(error)
            await asyncio.sleep(ERROR_REST_S)
