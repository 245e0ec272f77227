"""Resets, applied: each assigned partition goes where an operator said, once."""

from collections.abc import Callable

from mpsd.core.resets import Reset
from mpsd.pipeline.offset_maps import OffsetMaps
from mpsd.pipeline.pending_queue import PartitionQueue
from mpsd.ports import Clock, CommitPoint


class Resets:
    """The last reset of the subscription.

    Takes: it, whenever there is a new one; partitions that are about to deliver.
    Gives: those that must move to the Handover.
    Holds at most: one reset.
    """

    def __init__(
        self,
        maps: OffsetMaps,
        move: Callable[[PartitionQueue, CommitPoint], None],
        clock: Clock,
    ) -> None:
        """Begin with none.

        Args:
            maps: write and read what commits say beside their offset.
            move: drains a partition, commits the point and gives it back, so that whoever gets it begins there.
        """
        self._maps = maps
        self._move = move
        self._clock = clock
        self.reset: Reset | None = None

    def admit(self, queue: PartitionQueue) -> None:
        """Apply the reset to a partition, once all that was decided until its assignment is known and for each new reset."""
        reset = self.reset
        if reset is None:
            return
        tp, applied_id = queue.assignment.tp, self._maps.reset_id(queue.assignment)
        target = reset.target(tp, applied_id, int(self._clock.wall_s() * 1000))
        if target is not None:
            self._move(queue, self._maps.reset_point(queue.assignment, target.offset, reset.id))
        elif applied_id == reset.id and tp in reset.targets:
            queue.replay, queue.replay_end = reset.id, reset.targets[tp].end
            for offset, delivery in queue.tracker.unfinished.items():
                if offset < queue.replay_end:
                    delivery.replay = reset.id
