"""Dead letters that are written, and whose keys are to be blocked before they count as done."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mpsd.core.delivery import Assignment, log_fields
from mpsd.core.retry import Bury
from mpsd.errors import ControlOff, ControlUnavailable
from mpsd.pipeline.blocked_keys import UNWRITABLE, BlockedKeys
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.ports import DeadLetter, Landed

log = logging.getLogger("mpsd.dead_letters")

BLOCKED_KEY_BYTES_MAX = 256 * 1024
"""A longer key is not blocked: with the third that its text adds it must fit well into a control record, 1 MiB by default."""
FAILURES_MAX = 3
"""So many entries that cannot be written alone, and it is the topic: the others are tried in the next round."""


@dataclass(slots=True)
class Buried:
    """A letter to be written.

    Attributes:
        failed: it could not be, so far.
        instead: what an operator wants it to say, while it is being written otherwise.
    """

    queue: PartitionQueue
    letter: DeadLetter
    failed: bool = False
    instead: Bury | None = None


class PendingBlocks:
    """Holds the keys of what is written.

    Takes: letters that are written.
    Gives: them back when their keys are blocked; holds their partitions while that cannot be written.
    Holds at most: what the DeadLetterWriter does.
    """

    def __init__(
        self,
        blocked: BlockedKeys,
        subscription: str,
        pending: PendingQueue,
        finish: Callable[[Buried], None],
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
        self._letters: list[tuple[Buried, Landed]] = []

    def __len__(self) -> int:
        return len(self._letters)

    def wants(self, buried: Buried) -> bool:
        """Whether its key must be blocked; one that no control record has room for is not: it would wait for ever."""
        delivery = buried.letter.delivery
        if not self._blocked.wants(buried.queue, delivery, buried.letter.disposition):
            return False
        return len(delivery.record.key or b"") <= BLOCKED_KEY_BYTES_MAX

    def tell_if_too_large(self, buried: Buried) -> None:
        """It is written, and its key is not blocked though it should be."""
        delivery = buried.letter.delivery
        extra = {"code": "blocked_key.too_large", "subscription": self._subscription, **log_fields(delivery)}
        if self._blocked.wants(buried.queue, delivery, buried.letter.disposition):
            log.error(
                "%s: its key of %d bytes is too large to be blocked",
                delivery,
                len(delivery.record.key or b""),
                extra=extra,
            )

    def add(self, buried: Buried, landed: Landed) -> None:
        self._letters.append((buried, landed))

    def forget(self, assignment: Assignment) -> None:
        """The partition is no longer ours."""
        self._letters = [each for each in self._letters if each[0].queue.assignment is not assignment]

    async def block(self) -> bool:
        """Give back those whose keys could be blocked; returns whether that is all of them.

        All at once; if that fails one by one, as one entry that cannot be written must not stop the partitions of others.
        """
        trouble = await self._try(self._letters)
        failed: list[tuple[Buried, Landed]] = []
        for each in list(self._letters) if trouble is not None and len(self._letters) > 1 else ():
            if (error := await self._try([each])) is not None:
                trouble = error
                failed.append(each)
                if len(failed) == FAILURES_MAX:
                    break
        if trouble is None or not self._letters:
            return True
        self._letters.sort(key=lambda each: any(each is one for one in failed))  # the others come first the next time
        for buried, _ in self._letters:
            buried.queue.stop(UNWRITABLE)
        extra = {"code": "blocked_key.unwritable", "subscription": self._subscription}
        log.error("%d keys cannot be blocked: %s; their partitions wait", len(self._letters), trouble, extra=extra)
        return False

    async def _try(self, letters: Sequence[tuple[Buried, Landed]]) -> Exception | None:
        """Give them back, and let their partitions go on that wait for no other; returns why not."""
        letters = list(letters)
        try:
            await self._blocked.block([(buried.queue, buried.letter.delivery, landed) for buried, landed in letters])
        except (ControlUnavailable, ControlOff) as error:
            return error
        done = {id(each) for each in letters}
        self._letters = [each for each in self._letters if id(each) not in done]
        waiting = {buried.queue for buried, _ in self._letters}
        for buried, _ in letters:
            queue = buried.queue
            if self._pending.queues.get(queue.assignment) is queue:
                self._finish(buried)
                if queue not in waiting and UNWRITABLE in queue.causes and queue.go_on(UNWRITABLE):
                    self._on_released(queue)
        return None
