"""Choose the next delivery: fair over partitions, then over lanes, one of a lane at a time, or a run of them."""

from collections import deque

from mpsd.core.delivery import Delivery
from mpsd.core.lanes import has_failed
from mpsd.pipeline.pending_queue import PartitionQueue

Turn = tuple[PartitionQueue, Delivery]


class OrderIterator:
    """A round over the partitions that have something ready.

    Takes: partitions with a ready lane.
    Gives: heads of lanes; a lane gives nothing more until its head is settled or put back. Where runs are allowed, what
        the heads leave of the demand is filled with those behind them. Heads of
        paused keys are kept in `Lanes.paused`.
    Holds at most: each partition once.

    Args:
        runs_max: how many of one lane may be handed over together, 1 or more; a multiple of it never lies within a run, so
            that full requests of that size can be cut from what is given.
    """

    def __init__(self, runs_max: int = 1) -> None:
        self._runs_max = runs_max
        self._turns: deque[PartitionQueue] = deque()
        self._taken = 0

    def ready(self, queue: PartitionQueue) -> None:
        """Add a partition that has something ready to the round, unless it is in it or stopped."""
        if not queue.in_turn and not queue.stopped_by:
            queue.in_turn = True
            self._turns.append(queue)

    def take(self, records_max: int, bytes_max: int) -> list[Turn]:
        """Return up to so many deliveries; one record at most passes the bytes."""
        turns = self._turns
        taken: list[Turn] = []
        while turns and len(taken) < records_max and bytes_max > 0:
            queue = turns.popleft()
            ready = queue.lanes.ready
            if queue.stopped_by or not ready:
                queue.in_turn = False
                continue
            if queue.paused_keys and ready[0].record.key in queue.paused_keys:
                queue.lanes.pause(ready[0])
            else:
                delivery = queue.lanes.take()
                taken.append((queue, delivery))
                bytes_max -= delivery.size_bytes
            if ready:
                turns.append(queue)
            else:
                queue.in_turn = False
        if self._runs_max > 1 and taken and bytes_max > 0:
            taken = self._with_runs(taken, records_max - len(taken), bytes_max)
        self._taken += len(taken)
        return taken

    def take_newest(self) -> list[Turn]:
        """Return one head of a lane that became ready last in its partition; none if nothing is ready.

        A probe that is not one of the lanes which failed before, and stand at the other end again after their back-offs.
        """
        for _ in range(len(self._turns)):
            queue = self._turns.popleft()
            ready = queue.lanes.ready
            taken: list[Turn] = []
            while ready and not queue.stopped_by and not taken:
                if queue.paused_keys and ready[-1].record.key in queue.paused_keys:
                    queue.lanes.pause(ready[-1])
                else:
                    taken.append((queue, queue.lanes.take_newest()))
            if ready and not queue.stopped_by:
                self._turns.append(queue)
            else:
                queue.in_turn = False
            if taken:
                self._taken += 1
                return taken
        return []

    def _with_runs(self, heads: list[Turn], spare: int, bytes_max: int) -> list[Turn]:
        """Return each head with its share of the spare demand behind it.

        A partition with paused keys has no runs, because a lane need not be a key's.
        """
        taken: list[Turn] = []
        for number, (queue, head) in enumerate(heads):
            taken.append((queue, head))
            run_max = min(-(-spare // (len(heads) - number)), -len(taken) % self._runs_max)
            if run_max <= 0 or bytes_max <= 0 or head.next is None or has_failed(head) or queue.paused_keys:
                continue
            run = queue.lanes.take_run(head, run_max)
            spare -= len(run)
            bytes_max -= sum(delivery.size_bytes for delivery in run)
            taken += [(queue, delivery) for delivery in run]
        return taken

    def __bool__(self) -> bool:
        return bool(self._turns)

    def statistics(self) -> dict[str, float]:
        return {"partitions_in_turn": len(self._turns), "taken": self._taken}
