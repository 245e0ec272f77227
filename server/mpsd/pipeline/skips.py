"""Skip a record: send it to the dead-letter topic on an operator's word, wherever it is."""

import asyncio
from functools import partial
from typing import assert_never

from mpsd.core.delivery import Delivery, Seat
from mpsd.core.lanes import Event
from mpsd.core.record import TopicPartition
from mpsd.core.retry import DeadLetterRequest, Disposition
from mpsd.errors import RecordNotHere
from mpsd.pipeline.dead_letter_writer import DeadLetterWriter
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.pipeline.waiting import PendingSkip
from mpsd.pipeline.writer import Writer
from mpsd.ports import DlqPosition


class Skips:
    """The skips of a subscription.

    Takes: the positions of records.
    Gives: their deliveries to the DeadLetterWriter: at once, or once they come back from the application without being
        accepted. A dead letter that is to be written already is written as skipped.
    Holds at most: the records that are asked for and neither written nor settled.
    """

    def __init__(self, pending: PendingQueue, writer: Writer, dead_letters: DeadLetterWriter) -> None:
        self._pending = pending
        self._writer = writer
        self._dead_letters = dead_letters

    async def skip(self, tp: TopicPartition, offset: int, reason: str) -> DlqPosition:
        """Return where the dead letter is, once all in-sync replicas have it. Cancelled, the record is skipped all the same.

        Raises:
            RecordNotHere: it is settled, was not read yet, its partition is another's, or meanwhile it was accepted, or
                became a dead letter that holds its key or is blocked: ask again, there it is settled in another way.
        """
        queue, delivery = self._find(tp, offset)
        is_asked = delivery in self._writer.skips
        position_written = self._dead_letters.position_written(delivery)
        if not is_asked:
            verdict = DeadLetterRequest(disposition=Disposition.SKIPPED, reason=reason)
            accepted = partial(self._dead_letters.fail_position, delivery, "was accepted meanwhile")
            self._writer.skips[delivery] = PendingSkip(verdict, accepted)
            position_written.add_done_callback(lambda _: self._writer.skips.pop(delivery, None))
            self._post(queue, delivery, verdict)
        return await asyncio.shield(position_written)

    def _find(self, tp: TopicPartition, offset: int) -> tuple[PartitionQueue, Delivery]:
        for queue in self._pending.queues.values():
            if queue.assignment.tp == tp:
                if (delivery := queue.tracker.unfinished.get(offset)) is not None:
                    return queue, delivery
                why = "was not read yet" if offset >= queue.tracker.end else "is settled, or does not exist"
                raise RecordNotHere(f"{tp}@{offset} {why}")
        raise RecordNotHere(f"{tp}@{offset} is of a partition that this daemon does not have")

    def _post(self, queue: PartitionQueue, delivery: Delivery, verdict: DeadLetterRequest) -> None:
        """Skip a delivery wherever it is; the Writer sees to one that is at the application when it comes back."""
        match delivery.seat:
            case Seat.IN_FLIGHT | Seat.LOST | Seat.SETTLED:
                return
            case Seat.DEAD_LETTERING | Seat.KEYS_FULL:
                self._dead_letters.replace_verdict(delivery, verdict)
                return
            case Seat.BACK_OFF | Seat.SUSPECT:
                self._writer.waiting.remove(delivery)
            case Seat.READY | Seat.PAUSED | Seat.WAITING:
                self._pending.withdraw(queue, delivery)
            case seat:
                assert_never(seat)
        self._writer.dead_letter(queue, delivery, verdict, Event.SKIP)
