"""Dead letters that are written, and whose keys are to be blocked before they count as done."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mpsd.core.delivery import Assignment, log_fields
from mpsd.core.retry import DeadLetterRequest
from mpsd.errors import ControlOff, ControlUnavailable
from mpsd.pipeline.blocked_keys import UNWRITABLE, BlockedKeys
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.ports import DeadLetter, DlqPosition

log = logging.getLogger("mpsd.dead_letters")

BLOCKED_KEY_BYTES_MAX = 256 * 1024
"""A longer key is not blocked: with the third that its text adds it must fit well into a control record, 1 MiB by default."""
FAILURES_MAX = 3
"""So many entries that cannot be written alone, and it is the topic: the others are tried in the next round."""


@dataclass(slots=True)
class DeadLetterEntry:
    """A dead letter to be written.

    Attributes:
        failed: it could not be, so far.
        instead: what an operator wants it to say, while it is being written otherwise.
    """

    queue: PartitionQueue
    dead_letter: DeadLetter
    failed: bool = False
    instead: DeadLetterRequest | None = None


class PendingBlocks:
    """Holds the keys of what is written.

    Takes: dead letters that are written.
    Gives: them back when their keys are blocked; holds their partitions while that cannot be written.
    Holds at most: what the DeadLetterWriter does.
    """

    def __init__(
        self,
        blocked: BlockedKeys,
        subscription: str,
        pending: PendingQueue,
        finish: Callable[[DeadLetterEntry], None],
        on_released: Callable[[PartitionQueue], None],
    ) -> None:
        """Begin with none.

        Args:
            finish: its key is blocked.
            on_released: a partition was blocked and is not any more.
        """
        self._blocked = blocked
        self._subscription = subscription
        self._pending = pending
        self._finish = finish
        self._on_released = on_released
        self._dead_letters: list[tuple[DeadLetterEntry, DlqPosition]] = []

    def __len__(self) -> int:
        return len(self._dead_letters)

    def wants(self, entry: DeadLetterEntry) -> bool:
        """Whether its key must be blocked; one that no control record has room for is not: it would wait for ever."""
        delivery = entry.dead_letter.delivery
        if not self._blocked.wants(entry.queue, delivery, entry.dead_letter.disposition):
            return False
        return len(delivery.record.key or b"") <= BLOCKED_KEY_BYTES_MAX

    def tell_if_too_large(self, entry: DeadLetterEntry) -> None:
        """It is written, and its key is not blocked though it should be."""
        delivery = entry.dead_letter.delivery
        extra = {"code": "blocked_key.too_large", "subscription": self._subscription, **log_fields(delivery)}
        if self._blocked.wants(entry.queue, delivery, entry.dead_letter.disposition):
            log.error(
                "%s: its key of %d bytes is too large to be blocked",
                delivery,
                len(delivery.record.key or b""),
                extra=extra,
            )

    def add(self, entry: DeadLetterEntry, dlq_position: DlqPosition) -> None:
        self._dead_letters.append((entry, dlq_position))

    def forget(self, assignment: Assignment) -> None:
        """The partition is no longer ours."""
        self._dead_letters = [each for each in self._dead_letters if each[0].queue.assignment is not assignment]

    async def block(self) -> bool:
        """Give back those whose keys could be blocked; returns whether that is all of them.

        All at once; if that fails one by one, as one entry that cannot be written must not stop the partitions of others.
        """
        problem = await self._try(self._dead_letters)
        failed: list[tuple[DeadLetterEntry, DlqPosition]] = []
        for each in list(self._dead_letters) if problem is not None and len(self._dead_letters) > 1 else ():
            if (error := await self._try([each])) is not None:
                problem = error
                failed.append(each)
                if len(failed) == FAILURES_MAX:
                    break
        if problem is None or not self._dead_letters:
            return True
        self._dead_letters.sort(
            key=lambda each: any(each is one for one in failed)
        )  # the others come first the next time
        for entry, _ in self._dead_letters:
            entry.queue.stop(UNWRITABLE)
        extra = {"code": "blocked_key.unwritable", "subscription": self._subscription}
        log.error("%d keys cannot be blocked: %s; their partitions wait", len(self._dead_letters), problem, extra=extra)
        return False

    async def _try(self, dead_letters: Sequence[tuple[DeadLetterEntry, DlqPosition]]) -> Exception | None:
        """Give them back, and let their partitions go on that wait for no other; returns why not."""
        dead_letters = list(dead_letters)
        try:
            await self._blocked.block(
                [(entry.queue, entry.dead_letter.delivery, dlq_position) for entry, dlq_position in dead_letters]
            )
        except (ControlUnavailable, ControlOff) as error:
            return error
        done = {id(each) for each in dead_letters}
        self._dead_letters = [each for each in self._dead_letters if id(each) not in done]
        waiting = {entry.queue for entry, _ in self._dead_letters}
        for entry, _ in dead_letters:
            queue = entry.queue
            if self._pending.queues.get(queue.assignment) is queue:
                self._finish(entry)
                if queue not in waiting and UNWRITABLE in queue.causes and queue.go_on(UNWRITABLE):
                    self._on_released(queue)
        return None
