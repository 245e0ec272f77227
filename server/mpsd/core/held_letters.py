"""The dead letters of a held key, found in the order of the dead-letter topic and wanted in that of their own partition."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Place(NamedTuple):
    """Where a record was, and where its dead letter is."""

    source_offset: int
    letter: int


@dataclass(slots=True)
class HeldLetters:
    """What a round has found of a key.

    Attributes:
        places: of what is not settled; the first of its partition, if there were too many.
        is_meant: the task means one of its letters, settled or not.
        trouble: why it cannot be replayed; empty if it can.
        is_cut: there were too many: another round brings more.
    """

    places: list[Place] = field(default_factory=list)
    is_meant: bool = False
    trouble: str = ""
    is_cut: bool = False

    def add(self, place: Place, places_max: int) -> None:
        """Keep it if it is among the first."""
        self.places.append(place)
        if len(self.places) >= 2 * places_max:
            self.cut(places_max)

    def cut(self, places_max: int) -> None:
        """Bring them into order, and keep so many."""
        self.places.sort()
        self.is_cut |= len(self.places) > places_max
        del self.places[places_max:]
