"""Dead letters of a blocked key, found in the order of the dead-letter topic and wanted in that of their own partition.

One that could not be written at once stands behind those of later records, and one that its owner could not write before it
was killed is not there at all until the next has read the record again. So what is behind either waits (`Reach`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class DeadLetterOffsets(NamedTuple):
    """The source offset of a record, and the offset of its dead letter."""

    source_offset: int
    dead_letter: int


class Reach(NamedTuple):
    """A partition's progress, taken before the end of the dead-letter topic was looked up.

    Attributes:
        unfinished: by key the first record that was read and is neither accepted nor dead; of a log that is gone it means
            nothing.
        position: the next record that is read.
        log_end: of the source partition.
        letters_end: dead letters from here on are of records that were read by this owner.
    """

    unfinished: Mapping[bytes, int]
    position: int
    log_end: int
    dead_letters_end: int

    def is_unread(self, place: DeadLetterOffsets) -> bool:
        """Return True if the record is still to be read, so that earlier ones may be, too."""
        is_new = place.dead_letter >= self.dead_letters_end
        return place.source_offset >= self.position and (is_new or place.source_offset < self.log_end)

    def is_behind(self, key: bytes, place: DeadLetterOffsets) -> bool:
        """Return True if the record comes behind one of its key that may still be dead-lettered."""
        first = self.unfinished.get(key)
        return first is not None and place.source_offset >= first


@dataclass(slots=True)
class BlockedKeyDeadLetters:
    """Dead letters of one key that a round has found.

    Attributes:
        places: of what is not settled; the first of its partition, if there were too many.
        is_meant: the task means one of its dead letters, settled or not.
        problem: why it cannot be replayed; empty if it can.
        is_cut: there were too many: another round brings more.
        left: the first dead letter that is left out, because a record before it may have none yet; None: none is.
        is_unread: as that is still to be read.
    """

    places: list[DeadLetterOffsets] = field(default_factory=list)
    is_meant: bool = False
    problem: str = ""
    is_cut: bool = False
    left: int | None = None
    is_unread: bool = False

    def add(self, place: DeadLetterOffsets, places_max: int) -> None:
        """Add a dead letter; those beyond the first `places_max` are cut."""
        self.places.append(place)
        if len(self.places) >= 2 * places_max:
            self.cut(places_max)

    def leave(self, place: DeadLetterOffsets, is_unread: bool) -> None:
        """Leave a dead letter to the next round."""
        self.left = place.dead_letter if self.left is None else min(self.left, place.dead_letter)
        self.is_unread |= is_unread

    def cut(self, places_max: int) -> None:
        """Sort by source offset, and keep only the first `places_max`."""
        self.places.sort()
        self.is_cut |= len(self.places) > places_max
        del self.places[places_max:]
