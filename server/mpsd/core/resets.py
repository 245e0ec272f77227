"""Resets: a group's committed offsets, moved by an operator.

Each owner applies a reset once: it drains the partition and commits the target, an empty offset map and the reset's id in
one commit. All later commits of the partition carry the id, so whoever owns it next sees that it was applied. A commit
that somebody else makes does not carry it, so a reset is applied within a day of its writing or not at all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

from mpsd.core.control import NOBODY, Kind, OfSubscription, Provenance
from mpsd.core.record import TopicPartition

AGE_MAX_MS = 24 * 3_600_000
ID = re.compile(r"[0-9a-f]{8}")


To = Literal["earliest", "latest"] | datetime | Mapping[TopicPartition, int]
"""An edge of the logs, a time, or an offset for each partition that is to move."""


class Move(NamedTuple):
    """A partition's position, and its position after a reset.

    Attributes:
        committed: -1: nothing is.
        to: the offset of the next record, within the log.
    """

    committed: int
    to: int
    log_start: int
    log_end: int

    @property
    def repeated(self) -> int:
        """Settled records that are delivered again, at most."""
        return max(0, self.committed - self.to)

    @property
    def skipped(self) -> int:
        """Records that are never delivered, at most."""
        return max(0, self.to - max(self.committed, self.log_start))


class Target(NamedTuple):
    """The target of a reset for one partition.

    Attributes:
        offset: of the next record to be delivered.
        end: what was committed before; records below it are delivered again, and say so.
    """

    offset: Annotated[int, 0]
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """The last reset of a subscription.

    Attributes:
        id: eight hexadecimal digits, chosen by whoever writes it.
        revision: offset of its control record.
    """

    id: str
    targets: Mapping[TopicPartition, Target]
    revision: int = -1
    provenance: Provenance = NOBODY

    def target(self, tp: TopicPartition, applied_id: str, now_ms: int) -> Target | None:
        """Return the target that the partition has still to reach; None if it has none.

        Args:
            applied_id: of the reset that its last commit names; empty: none.
        """
        if applied_id == self.id or now_ms - self.provenance.at_ms > AGE_MAX_MS:
            return None
        return self.targets.get(tp)


def _has_id(reset: Reset) -> bool:
    return ID.fullmatch(reset.id) is not None


RESET = Kind(name="reset", key=OfSubscription, value=Reset, fits=_has_id)
