"""Records that were lost together: which of them go out again, and how many at once.

One at first. As long as all of a group are answered the next is twice as large, so that the thousand which were on a
stream that died are through after ten groups and not after a thousand. When one is lost again the next group is one
record again, and a group that was lost goes before all others and is never mixed with them: it was a culprit in it that
took the others along, and it is alone after at most as many losses as the group can be halved. Who is lost out of a larger
group is not charged; who was charged goes alone.

    lost: a b c d e f g      out: a | b c | d e f g
    lost: d e f g again      out: g | f e, lost again      out: e | f, lost alone and charged      out: d | f

Synchronous and deterministic.
"""

from collections import deque
from collections.abc import Callable, Iterator

from typing_extensions import override

from mpsd.core.delivery import HEAD, Assignment, Delivery
from mpsd.core.outcome import Delivered, Outcome, Rejected, Retryable


class Suspects:
    """Takes turns over the suspects of an endpoint.

    Takes: deliveries that were lost with others.
    Gives: groups of them, one at a time.
    Holds at most: what is given to it.

    Attributes:
        out: the group that is out, as far as it has not ended.
    """

    __slots__ = ("_again", "_group", "_is_proven", "_once", "_size", "out")

    def __init__(self) -> None:
        self._once: deque[Delivery] = deque()
        self._again: deque[Delivery] = deque()
        self._size = 1
        self._group = 0
        self._is_proven = True
        self.out: set[Delivery] = set()

    def __len__(self) -> int:
        """Those that wait."""
        return len(self._again) + len(self._once)

    def __iter__(self) -> Iterator[Delivery]:
        """Those that wait, the next first."""
        yield from self._again
        yield from self._once

    def lost(self, delivery: Delivery) -> None:
        """It was lost, and not charged."""
        self._size = 1
        if delivery.trouble is not None and delivery.trouble.group > 1:
            self._again.appendleft(delivery)
        else:
            self._once.append(delivery)

    def rested(self, delivery: Delivery) -> None:
        """A suspect may go out again after a back-off, or after it had come to nothing."""
        self._once.append(delivery)

    def take(self, records_max: int, bytes_max: int, may_go: Callable[[Delivery], bool]) -> list[Delivery]:
        """The next group; nothing before the last one has ended.

        Args:
            records_max: 1 or more.
            bytes_max: passed by one record at most.
            may_go: whether it may be delivered now; the others keep their place.
        """
        if self.out:
            return []
        records_max = min(self._size, records_max)
        group = self._taken(self._again, records_max, bytes_max, may_go)
        group = group or self._taken(self._once, records_max, bytes_max, may_go)
        for delivery in group:
            assert delivery.trouble is not None
            delivery.trouble.group = len(group)
        self.out.update(group)
        self._group, self._is_proven = len(group), True
        return group

    def ended(self, delivery: Delivery, outcome: Outcome | None) -> None:
        """A delivery is no longer out; others than those of the group mean nothing here.

        Args:
            outcome: None if it was not made after all.
        """
        if delivery not in self.out:
            return
        self.out.discard(delivery)
        if isinstance(outcome, Retryable) and outcome.lost:
            self._size, self._is_proven = 1, False
            self._once.extendleft(
                reversed(self._again)
            )  # the culprit is in this group, not in what is left of the last
            self._again.clear()
        elif not isinstance(outcome, Delivered | Retryable | Rejected):
            self._is_proven = False
        if not self.out and self._is_proven:
            self._size = max(self._size, 2 * self._group)

    def remove(self, delivery: Delivery) -> bool:
        """It waits no longer; whether it did."""
        for waiting in (self._again, self._once):
            if delivery in waiting:
                waiting.remove(delivery)
                return True
        return False

    def forget(self, assignment: Assignment) -> None:
        """The partition is no longer ours."""
        self._again = deque(delivery for delivery in self._again if delivery.assignment is not assignment)
        self._once = deque(delivery for delivery in self._once if delivery.assignment is not assignment)

    @staticmethod
    def _taken(
        waiting: deque[Delivery], records_max: int, bytes_max: int, may_go: Callable[[Delivery], bool]
    ) -> list[Delivery]:
        group: list[Delivery] = []
        for _ in range(len(waiting)):
            alone = _goes_alone(waiting[0])
            if bytes_max <= 0 or len(group) >= (1 if alone else records_max):
                break
            delivery = waiting.popleft()
            if not may_go(delivery):
                waiting.append(delivery)
                continue
            group.append(delivery)
            bytes_max -= delivery.size_bytes
            if alone:
                break
        return group

    @override
    def __repr__(self) -> str:
        return f"<Suspects waiting={len(self)} out={len(self.out)} size={self._size}>"


def _goes_alone(delivery: Delivery) -> bool:
    """Whether it was lost alone before, as a suspect or as a probe, or has the record before it in its lane beside it."""
    trouble = delivery.trouble
    return delivery.place is not HEAD or (trouble is not None and (trouble.attempts > 0 or trouble.group == 1))
