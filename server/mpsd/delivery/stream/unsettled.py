"""The deliveries of one stream that are not settled, and their leases.

Ids rise by one with each delivery assigned to the stream, so what was sent is what has an id up to `sent_id`, and the
leases of those that were never extended end in the order of their ids: one mark for all that were assigned at about the
same time is enough. Only an extended lease is remembered by itself. A lease begins when the record is assigned: one that
waits for a client which does not read ends as well, and goes elsewhere.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from mpsd.core.delivery import Assignment, Delivery

MARKS_PER_LEASE = 20
"""Leases that begin within this part of their length may end together, with the last of them."""


@dataclass(slots=True)
class _Mark:
    """Leases of ids up to `last_id` (and beyond those of the mark before) end at `due_s`."""

    begun_s: float
    due_s: float
    last_id: int


class _Extended(NamedTuple):
    delivery: Delivery
    due_s: float
    end_s: float


class Unsettled:
    """The deliveries of one stream, by `delivery_id`.

    Holds at most: what is assigned to it; `MARKS_PER_LEASE` marks and a few.

    Args:
        lease_s: how long a record may be held.
        total_max_s: and how long with all extensions.
    """

    def __init__(self, lease_s: float, total_max_s: float) -> None:
        self._lease_s = lease_s
        self._total_max_s = max(lease_s, total_max_s)
        self._open: dict[int, Delivery] = {}
        self._extended: dict[int, _Extended] = {}
        self._extended_due_s = inf
        self._marks: deque[_Mark] = deque()
        self._last_id = 0
        self.sent_id = 0
        self.unsent = 0

    def __len__(self) -> int:
        return len(self._open) + len(self._extended)

    @property
    def sent(self) -> int:
        """The number of deliveries sent to the client and not settled."""
        return len(self._open) + len(self._extended) - self.unsent

    def assign(self, deliveries: Sequence[Delivery], now_s: float) -> None:
        """Add deliveries; their leases begin now."""
        first, last = self._last_id + 1, self._last_id + len(deliveries)
        self._open.update(zip(range(first, last + 1), deliveries, strict=True))
        self._last_id = last
        self.unsent += len(deliveries)
        mark = self._marks[-1] if self._marks else None
        if mark is None or now_s - mark.begun_s > self._lease_s / MARKS_PER_LEASE:
            self._marks.append(_Mark(now_s, now_s + self._lease_s, last))
        else:
            mark.due_s, mark.last_id = now_s + self._lease_s, last

    def next_unsent(self) -> tuple[int, Delivery] | None:
        """Return the next delivery to send; skip those taken back meanwhile."""
        while self.unsent:
            delivery = self._open.get(self.sent_id + 1)
            if delivery is not None:
                return self.sent_id + 1, delivery
            self.sent_id += 1
        return None

    def sending(self) -> None:
        """Mark the delivery that `next_unsent` returned as sent."""
        self.sent_id += 1
        self.unsent -= 1

    def settle(self, delivery_id: int) -> Delivery | None:
        """Remove and return a delivery that the client settled; None if the client does not hold it."""
        if delivery_id > self.sent_id:
            return None
        delivery = self._open.pop(delivery_id, None)
        if delivery is None and (extended := self._extended.pop(delivery_id, None)) is not None:
            return extended.delivery
        return delivery

    def extend(self, delivery_id: int, lease_s: float, now_s: float) -> bool:
        """Restart the lease of a delivery, within the total; return False if the client does not hold it."""
        if delivery_id > self.sent_id:
            return False
        extended = self._extended.get(delivery_id)
        if extended is not None:
            delivery, end_s = extended.delivery, extended.end_s
        elif delivery_id in self._open:
            mark = self._marks[bisect_left(self._marks, delivery_id, key=_last_id)]
            delivery, end_s = self._open.pop(delivery_id), mark.due_s - self._lease_s + self._total_max_s
        else:
            return False
        due_s = min(now_s + lease_s, end_s)
        self._extended[delivery_id] = _Extended(delivery, due_s, end_s)
        self._extended_due_s = min(self._extended_due_s, due_s)
        return True

    def expired(self, now_s: float) -> list[int]:
        """Return the ids of deliveries whose lease is over, in order; they stay until `take`."""
        over: list[int] = []
        lapsed_id = 0
        while self._marks and self._marks[0].due_s <= now_s:
            lapsed_id = self._marks.popleft().last_id
        if lapsed_id:
            for delivery_id in self._open:
                if delivery_id > lapsed_id:
                    break
                over.append(delivery_id)
        if now_s >= self._extended_due_s:
            over += [each for each, extended in self._extended.items() if extended.due_s <= now_s]
            left = [extended.due_s for extended in self._extended.values() if extended.due_s > now_s]
            self._extended_due_s = min(left, default=inf)
        return sorted(over)

    def ids(self, assignment: Assignment | None = None) -> Iterator[int]:
        """Return the ids of all unsettled deliveries, or of an assignment's, in order."""
        held = [each for each, delivery in self._open.items() if assignment in {None, delivery.assignment}]
        held += [each for each, kept in self._extended.items() if assignment in {None, kept.delivery.assignment}]
        return iter(sorted(held))

    def take(self, delivery_id: int) -> Delivery:
        """Remove a delivery, sent or not."""
        if delivery_id in self._extended:
            return self._extended.pop(delivery_id).delivery
        self.unsent -= delivery_id > self.sent_id
        return self._open.pop(delivery_id)


def _last_id(mark: _Mark) -> int:
    return mark.last_id
