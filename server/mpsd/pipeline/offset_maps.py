"""Write and read the offset maps that commits carry beside their offset."""

import logging
from collections import Counter

from mpsd.core.delivery import Assignment
from mpsd.core.offset_map import (
    OTHER_INCARNATION,
    Ignored,
    MapSpace,
    OffsetMap,
    decode,
    encode,
    split_reset,
    with_reset,
)
from mpsd.core.offset_tracker import OffsetTracker, Snapshot
from mpsd.ports import CommitPoint, Position

log = logging.getLogger("mpsd.committer")


class OffsetMaps:
    """A maker of commit points from trackers, and of trackers from commits.

    Takes: trackers; committed text, which anybody may have written.
    Gives: a commit point whose base and map are of one moment; a tracker that knows no more than both say together.
    Holds at most: a number and the id of a reset for each assigned partition.
    """

    def __init__(self, subscription: str, space: MapSpace) -> None:
        self._subscription = subscription
        self.space = space
        self.ignored: Counter[str] = Counter()
        self._left_out: dict[Assignment, int] = {}
        self._reset_ids: dict[Assignment, str] = {}

    def restore(self, assignment: Assignment, position: Position) -> OffsetTracker:
        """Begin where the group stands.

        The map counts only with the base that it came with, and with a later one if retention has taken what lies between.
        """
        committed, tp = position.committed, assignment.tp
        self._reset_ids[assignment] = split_reset(committed.metadata)[0] if committed is not None else ""
        if committed is None:
            return OffsetTracker(position.next_offset)
        log_start, log_end = position.log_start, position.log_end
        found = decode(committed.metadata, tp, committed.next_offset, log_start, log_end, assignment.incarnation)
        counts = (
            committed.next_offset == position.next_offset or committed.next_offset < position.next_offset == log_start
        )
        if isinstance(found, OffsetMap):
            return OffsetTracker(position.next_offset, *found) if counts else OffsetTracker(position.next_offset)
        if counts or found in OTHER_INCARNATION:
            self._tell_ignored(assignment, found)
        return OffsetTracker(position.next_offset)

    def _tell_ignored(self, assignment: Assignment, why: Ignored) -> None:
        self.ignored[why.value] += 1
        log.warning(
            "%s: the offset map of the last commit is ignored: %s; records beyond the committed offset may be delivered again",
            assignment.tp,
            why.words,
            extra={"code": "offset_map.ignored", "subscription": self._subscription},
        )

    def point(self, assignment: Assignment, tracker: OffsetTracker) -> CommitPoint:
        """Return the commit point of a tracker: base and map of one snapshot."""
        snapshot = tracker.snapshot()
        reset_id = self.reset_id(assignment)
        encoded = encode(snapshot, assignment.tp, self.space.beside_reset(reset_id), assignment.incarnation)
        self._left_out[assignment] = encoded.attempts_left_out
        return CommitPoint(snapshot.next_offset, with_reset(reset_id, encoded.text))

    def reset_point(self, assignment: Assignment, next_offset: int, reset_id: str) -> CommitPoint:
        """Return the commit that moves the partition to an offset: nothing beyond it is finished."""
        space, nothing = self.space.beside_reset(reset_id), Snapshot(next_offset, (), ())
        text = encode(nothing, assignment.tp, space, assignment.incarnation).text
        return CommitPoint(next_offset, with_reset(reset_id, text))

    def reset_id(self, assignment: Assignment) -> str:
        """Return the reset that the commits of a partition name; empty for none."""
        return self._reset_ids.get(assignment, "")

    def shrink(self) -> None:
        """Halve the space of a map, because the broker takes less than configured."""
        self.space = self.space.halved()

    def forget(self, assignment: Assignment) -> None:
        """Forget a partition that is no longer ours."""
        self._left_out.pop(assignment, None)
        self._reset_ids.pop(assignment, None)

    @property
    def attempts_left_out(self) -> int:
        """Return the number of records whose attempts had no room in the last commits."""
        return sum(self._left_out.values())
