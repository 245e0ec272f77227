"""Write dead letters: the offset of a record counts as done only when all in-sync replicas have its dead letter."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mpsd.core.dead_letter import Sender, headers
from mpsd.core.delivery import Assignment, Delivery, ReplayedDelivery, log_fields
from mpsd.core.lanes import Event, move
from mpsd.core.retry import DeadLetterRequest, RetryRules, backoff_s
from mpsd.core.states import DeliveryState
from mpsd.errors import ControlOff, ControlUnavailable, KafkaRefused, KafkaUnavailable, RecordNotHere
from mpsd.pipeline.control.blocks import UNWRITABLE, BlockedKeys
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.ports import SYSTEM_CLOCK, Clock, DeadLetter, DeadLetterSink, DlqPosition

log = logging.getLogger("mpsd.dead_letters")

DEAD_LETTERS_PER_WRITE_MAX = 500
LEASE_WAIT_S = 0.05
"""Longest delay until the writer notices that the membership is confirmed again."""
PREPARE_REST_S = 10.0
"""Rest between two attempts to make the topic, while there is no dead letter to write."""
DLQ_BLOCKED = DeliveryState.DLQ_BLOCKED
DIED = "became a dead letter meanwhile; ask again"
BLOCKED_KEY_BYTES_MAX = 256 * 1024
"""A longer key is not blocked: with the third that its text adds it must fit well into a control record, 1 MiB by default."""
FAILURES_MAX = 3
"""Entries that cannot be written alone before the topic is to blame; the others are tried in the next round."""
UNWRITTEN = DlqPosition("", -1, -1)


@dataclass(slots=True, eq=False)
class DeadLetterEntry:
    """A dead letter to be written.

    Attributes:
        failed: the dead letter could not be written so far.
        instead: the verdict that an operator wants, while the dead letter is being written with another.
        position: where the dead letter is, once it is written.
    """

    queue: PartitionQueue
    dead_letter: DeadLetter
    failed: bool = False
    instead: DeadLetterRequest | None = None
    position: DlqPosition = UNWRITTEN


class DeadLetterWriter:
    """A writer of dead letters and blocker of their keys, which stops partitions while either cannot be written.

    Takes: records with the verdict to dead-letter them.
    Gives: finished records back to the PendingQueue, once acknowledged.
    Holds at most: one dead letter per lane of the PendingQueue, as the lane of each is blocked; as many as a run has, where
        several of a lane are delivered together.
    """

    def __init__(
        self,
        sink: DeadLetterSink,
        sender: Sender,
        rules: RetryRules,
        pending: PendingQueue,
        blocked: BlockedKeys,
        clock: Clock = SYSTEM_CLOCK,
        lease_left_s: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """Begin with nothing to write.

        Args:
            rules: back-off between failed writes; attempts have no bound, as losing the record is no choice.
            blocked: blocks the keys of what is written.
            lease_left_s: 0 or less: the next owner may have the record by now, and succeed with it.
        """
        self._blocked = blocked
        self._unblocked: list[DeadLetterEntry] = []
        self._crowded: list[DeadLetterEntry] = []
        self._writing: list[DeadLetterEntry] = []
        self._sink = sink
        self._sender = sender
        self._rules = rules
        self._pending = pending
        self._jitter = clock.jitter
        self._lease_left_s = lease_left_s
        self._waiting: deque[DeadLetterEntry] = deque()
        self._written: dict[Delivery, asyncio.Future[DlqPosition]] = {}
        self._arrived = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self.written: Counter[str] = Counter()
        self.failures = 0

    def dead_letter(self, queue: PartitionQueue, delivery: Delivery, verdict: DeadLetterRequest) -> None:
        """Take a record over; its lane waits until it is written."""
        if isinstance(delivery, ReplayedDelivery):
            delivery.is_dead_again = True
        self._waiting.append(DeadLetterEntry(queue, self._dead_letter(delivery, verdict)))
        self._arrived.set()

    def replace_verdict(self, delivery: Delivery, verdict: DeadLetterRequest) -> None:
        """Give a dead letter that is to be written another verdict, which blocks no key.

        `position_written` tells what becomes of one that is written already.
        """
        if not self._blocked.is_on:
            return  # it goes there all the same, and why it died says more
        for entry in self._writing:
            if entry.dead_letter.delivery is delivery:
                entry.instead = verdict
        for entry in (*self._waiting, *self._crowded):
            if entry.dead_letter.delivery is delivery:
                entry.dead_letter = self._dead_letter(delivery, verdict)
                if entry.queue.crowded:
                    self.on_room()

    def _dead_letter(self, delivery: Delivery, verdict: DeadLetterRequest) -> DeadLetter:
        return DeadLetter(
            delivery=delivery,
            disposition=verdict.disposition.value,
            reason=verdict.reason,
            headers=headers(delivery, verdict, self._sender),
        )

    def on_room(self) -> None:
        """Try again to write the dead letters that waited for room to block their keys."""
        crowded, self._crowded = self._crowded, []
        for entry in crowded:
            move(entry.dead_letter.delivery, Event.KEYS_ROOM)
            entry.queue.crowded -= 1
        self._waiting.extendleft(reversed(crowded))
        if crowded:
            self._arrived.set()

    def position_written(self, delivery: Delivery) -> asyncio.Future[DlqPosition]:
        """Return where the dead letter of a record is, once it is written; all who ask share one future.

        The future raises RecordNotHere if none is ever written, or, where keys are blocked, if one was written with another
        verdict before anybody asked.
        """
        return self._written.setdefault(delivery, asyncio.get_running_loop().create_future())

    def fail_position(self, delivery: Delivery, why: str) -> None:
        """Tell whoever waits for the dead letter of a record that there will be none."""
        position_written = self._written.pop(delivery, None)
        if position_written is not None and not position_written.done():
            position_written.set_exception(RecordNotHere(f"{delivery}: {why}"))

    def forget(self, assignment: Assignment) -> None:
        """Forget the dead letters of a partition that is no longer ours; its next owner writes them."""
        for delivery in [each for each in self._written if each.assignment is assignment]:
            self.fail_position(delivery, "its partition has moved to another daemon; ask that one")
        self._waiting = deque(entry for entry in self._waiting if entry.queue.assignment is not assignment)
        self._crowded = [entry for entry in self._crowded if entry.queue.assignment is not assignment]
        self._unblocked = [entry for entry in self._unblocked if entry.queue.assignment is not assignment]
        self._acknowledged.set()
        self.on_room()

    async def settled(self, assignments: Collection[Assignment], timeout_s: float) -> bool:
        """Wait until none of these has a dead letter to be written; return True if that was so within the time.

        Dead letters that wait for room to block their keys do not count, because an operator has to make it.
        """
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                while any(
                    queue.dead_letter_pending > queue.crowded
                    for a in assignments
                    if (queue := self._pending.queues.get(a)) is not None
                ):
                    self._acknowledged.clear()
                    await self._acknowledged.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Write dead letters until cancelled; the next owner of the partition repeats a write that is cut off."""
        failed, is_prepared = 0, await self._prepare()
        while True:
            if not is_prepared:
                with suppress(TimeoutError):
                    async with asyncio.timeout(PREPARE_REST_S):
                        await self._arrived.wait()
                is_prepared = self._arrived.is_set() or await self._prepare()  # a write prepares for itself
                continue
            await self._arrived.wait()
            if self._lease_left_s() <= 0:
                await asyncio.sleep(LEASE_WAIT_S)
                continue
            batch = self._next()
            retry = await self._write(batch) if batch else []
            self._waiting.extendleft(reversed(retry))
            are_blocked = not self._unblocked or (self._lease_left_s() > 0 and await self._block())
            if not self._waiting and not self._unblocked:
                self._arrived.clear()
            if retry or not are_blocked:
                failed += 1
                await asyncio.sleep(
                    max(self._rules.backoff_initial_s / 2, backoff_s(failed, self._rules, self._jitter()))
                )
            else:
                failed = 0

    async def _prepare(self) -> bool:
        """Return True once the topic is there and fit; else log why not."""
        try:
            await self._sink.prepare()
        except (KafkaRefused, KafkaUnavailable) as error:
            extra = {"code": "dead_letter.topic_missing", "subscription": self._sender.subscription}
            log.warning("%s; trying again in %.0f s", error, PREPARE_REST_S, extra=extra)
            return False
        return True

    def _next(self) -> list[DeadLetterEntry]:
        """Return as many as go into one write; those without room to block their keys wait, and their lanes with them."""
        batch: list[DeadLetterEntry] = []
        room = self._blocked.room() - len(self._unblocked)
        while self._waiting and len(batch) < DEAD_LETTERS_PER_WRITE_MAX:
            entry = self._waiting.popleft()
            queue, dead_letter = entry.queue, entry.dead_letter
            if self._blocks_key(entry) and len(dead_letter.delivery.record.key or b"") <= BLOCKED_KEY_BYTES_MAX:
                if room <= 0:
                    move(dead_letter.delivery, Event.KEYS_FULL)
                    self._crowded.append(entry)
                    self._resume_partition(
                        entry
                    )  # what it waits for is a replay, which a partition that stands still cannot have
                    entry.failed = False
                    queue.crowded += 1
                    self._acknowledged.set()
                    extra = {
                        "code": "blocked_key.full",
                        "subscription": self._sender.subscription,
                        **log_fields(dead_letter.delivery),
                    }
                    log.error("%s waits: ordering.blocked_keys_max keys are blocked", dead_letter.delivery, extra=extra)
                    continue
                room -= 1
            batch.append(entry)
        return batch

    async def _write(self, batch: list[DeadLetterEntry]) -> list[DeadLetterEntry]:
        """Write dead letters; return those that must be written again."""
        self._writing = batch
        try:
            answers = await self._sink.write([entry.dead_letter for entry in batch])
        finally:
            self._writing = []
        retry = []
        for entry, answer in zip(batch, answers, strict=True):
            queue, delivery = entry.queue, entry.dead_letter.delivery
            if queue.assignment not in self._pending.queues:
                continue
            if isinstance(answer, BaseException):
                self.failures += 1
                self._stop_partition(entry, answer)
                if entry.instead is not None:
                    entry.dead_letter, entry.instead = self._dead_letter(delivery, entry.instead), None
                retry.append(entry)
                continue
            if entry.instead is not None:
                self.fail_position(delivery, DIED)
            position_written = self._written.pop(delivery, None)
            if position_written is not None and not position_written.done():
                position_written.set_result(answer)
            key_bytes = len(delivery.record.key or b"")
            if not self._blocks_key(entry):
                self._finish(entry)
            elif key_bytes > BLOCKED_KEY_BYTES_MAX:
                extra = {
                    "code": "blocked_key.too_large",
                    "subscription": self._sender.subscription,
                    **log_fields(delivery),
                }
                log.error("%s: its key of %d bytes is too large to be blocked", delivery, key_bytes, extra=extra)
                self._finish(entry)
            else:
                entry.position = answer
                self._unblocked.append(entry)
        return retry

    def _blocks_key(self, entry: DeadLetterEntry) -> bool:
        return self._blocked.wants(entry.queue, entry.dead_letter.delivery, entry.dead_letter.disposition)

    async def _block(self) -> bool:
        """Finish the dead letters whose keys could be blocked; return True if that is all of them.

        All are tried at once; if that fails, one by one, because one entry that cannot be written must not stop the others.
        """
        problem = await self._try(self._unblocked)
        failed: set[DeadLetterEntry] = set()
        for entry in list(self._unblocked) if problem is not None and len(self._unblocked) > 1 else ():
            if (error := await self._try([entry])) is not None:
                problem = error
                failed.add(entry)
                if len(failed) == FAILURES_MAX:
                    break
        if problem is None or not self._unblocked:
            return True
        self._unblocked.sort(key=lambda entry: entry in failed)  # the others come first the next time
        for entry in self._unblocked:
            entry.queue.stop(UNWRITABLE)
        extra = {"code": "blocked_key.unwritable", "subscription": self._sender.subscription}
        log.error("%d keys cannot be blocked: %s; their partitions wait", len(self._unblocked), problem, extra=extra)
        return False

    async def _try(self, entries: Sequence[DeadLetterEntry]) -> Exception | None:
        """Block keys, finish their dead letters and resume partitions that wait for no other; return the error if that failed."""
        entries = list(entries)
        try:
            await self._blocked.block([(entry.queue, entry.dead_letter.delivery, entry.position) for entry in entries])
        except (ControlUnavailable, ControlOff) as error:
            return error
        done = set(entries)
        self._unblocked = [entry for entry in self._unblocked if entry not in done]
        waiting = {entry.queue for entry in self._unblocked}
        for entry in entries:
            queue = entry.queue
            if self._pending.queues.get(queue.assignment) is queue:
                self._finish(entry)
                if queue not in waiting and UNWRITABLE in queue.causes:
                    self._pending.resume_partition(queue, UNWRITABLE)
        return None

    def _finish(self, entry: DeadLetterEntry) -> None:
        queue = entry.queue
        self.written[entry.dead_letter.disposition] += 1
        queue.dead_letter_pending -= 1
        self._resume_partition(entry)
        self.fail_position(entry.dead_letter.delivery, DIED)  # who asks after it is written, and before it is finished
        self._pending.finish(queue, entry.dead_letter.delivery)
        self._acknowledged.set()

    def _stop_partition(self, entry: DeadLetterEntry, error: BaseException) -> None:
        queue, delivery = entry.queue, entry.dead_letter.delivery
        queue.unwritable += not entry.failed
        entry.failed = True
        queue.stop(DLQ_BLOCKED, str(error))
        log.error(
            "%s: cannot be written to the dead-letter topic: %s; partition %s waits and the write is tried again",
            delivery,
            error,
            queue.assignment.tp,
            extra={
                "code": "dead_letter.write_failed",
                "subscription": self._sender.subscription,
                **log_fields(delivery),
            },
        )

    def _resume_partition(self, entry: DeadLetterEntry) -> None:
        """Resume the partition with the last of its dead letters that could not be written."""
        queue = entry.queue
        queue.unwritable -= entry.failed
        if entry.failed and not queue.unwritable:
            self._pending.resume_partition(queue, DLQ_BLOCKED)

    def statistics(self) -> dict[str, float]:
        return {"waiting": len(self._waiting), "written": self.written.total(), "failures": self.failures}
