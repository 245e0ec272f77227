"""Which delivery is next: fair over partitions, then over lanes, one of a lane at a time."""

from collections import deque

from mpsd.core.delivery import Delivery
from mpsd.pipeline.pending_queue import PartitionQueue


class OrderIterator:
    """Takes turns over the partitions that have something ready.

    Takes: partitions with a ready lane.
    Gives: heads of lanes; a lane gives nothing more until its head is settled or put back. Those of paused keys are
        parked with their partition.
    Holds at most: each partition once.
    """

    def __init__(self) -> None:
        self._turns: deque[PartitionQueue] = deque()
        self._taken = 0

    def ready(self, queue: PartitionQueue) -> None:
        """The partition has something ready. It joins the round unless it is in it, or held."""
        if not queue.in_turn and not queue.hold:
            queue.in_turn = True
            self._turns.append(queue)

    def take(self, records_max: int, bytes_max: int) -> list[tuple[PartitionQueue, Delivery]]:
        """Up to so many deliveries; the bytes are passed by one record at most."""
        turns = self._turns
        taken: list[tuple[PartitionQueue, Delivery]] = []
        while turns and len(taken) < records_max and bytes_max > 0:
            queue = turns.popleft()
            ready = queue.lanes.ready
            if queue.hold or not ready:
                queue.in_turn = False
                continue
            delivery = queue.lanes.take()
            if queue.paused_keys and delivery.record.key in queue.paused_keys:
                queue.parked.append(delivery)
            else:
                taken.append((queue, delivery))
                bytes_max -= delivery.size_bytes
            if ready:
                turns.append(queue)
            else:
                queue.in_turn = False
        self._taken += len(taken)
        return taken

    def __bool__(self) -> bool:
        return bool(self._turns)

    def statistics(self) -> dict[str, int | float | str]:
        return {"partitions_in_turn": len(self._turns), "taken": self._taken}
