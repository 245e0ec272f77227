"""Dead letters that have something in common, counted."""

from collections.abc import Callable
from dataclasses import dataclass

from mpsd.core.dead_letter_record import DeadLetterRecord
from mpsd.core.reason_pattern import pattern_of

GROUPS_MAX = 10_000
"""Groups that are kept while counting; the dead letters of further groups are counted together."""


@dataclass(slots=True)
class DeadLetterGroup:
    """Dead letters that have something in common.

    Attributes:
        name: what they have in common; where all have the same reason, that reason in full.
        sample: the first that was counted.
    """

    name: str
    sample: DeadLetterRecord
    first_ms: int
    last_ms: int
    records: int = 0
    replayed: int = 0


@dataclass(frozen=True, slots=True)
class Grouping:
    """A way to group dead letters.

    Attributes:
        key: equal for those of one group.
        name: what a group is called while it is equal for all of its dead letters; otherwise the group is called its key.
    """

    key: Callable[[DeadLetterRecord], str]
    name: Callable[[DeadLetterRecord], str]


BY_REASON = Grouping(lambda dead_letter: pattern_of(dead_letter.reason), lambda dead_letter: dead_letter.reason)


class DeadLetterGroups:
    """A count of dead letters by group.

    Holds at most: `groups_max` groups.

    Attributes:
        records: dead letters that were counted, those of further groups among them.
    """

    def __init__(self, grouping: Grouping, groups_max: int = GROUPS_MAX) -> None:
        self._grouping = grouping
        self._groups_max = groups_max
        self._groups: dict[str, DeadLetterGroup] = {}
        self.records = 0

    def add(self, dead_letter: DeadLetterRecord, *, replayed: bool = False) -> None:
        """Count a dead letter."""
        self.records += 1
        key, name, at_ms = (
            self._grouping.key(dead_letter),
            self._grouping.name(dead_letter),
            dead_letter.dead_lettered_at_ms,
        )
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) == self._groups_max:
                return
            group = self._groups[key] = DeadLetterGroup(name, dead_letter, at_ms, at_ms)
        elif group.name != name:
            group.name = key
        group.records += 1
        group.replayed += replayed
        group.first_ms, group.last_ms = min(group.first_ms, at_ms), max(group.last_ms, at_ms)

    def most_frequent(self, number: int) -> list[DeadLetterGroup]:
        """Return the largest groups, the largest first."""
        return sorted(self._groups.values(), key=lambda group: (-group.records, group.name))[:number]
