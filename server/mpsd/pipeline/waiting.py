"""Heads of lanes that are not ready: in back-off until a time, or suspects, which go in groups of their own."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import inf
from operator import itemgetter
from typing import NamedTuple

from mpsd.core.delivery import Assignment, Delivery, Seat
from mpsd.core.lanes import Event, move
from mpsd.core.retry import DeadLetterRequest
from mpsd.core.suspects import Suspects


class PendingSkip(NamedTuple):
    """A request to dead-letter a delivery that is out, unless it is accepted; then `accepted` is called."""

    verdict: DeadLetterRequest
    accepted: Callable[[], None]


class Waiting:
    """The deliveries that the Writer keeps until they may be delivered again.

    Takes: deliveries that failed.
    Gives: those whose time has come; the suspects to whoever takes turns over them.
    Holds at most: of each lane its head, and likewise those that were handed out with it.
    """

    def __init__(self) -> None:
        self._sequence = 0
        self._backing_off: list[tuple[float, int, Delivery]] = []
        self.suspects = Suspects()

    def back_off(self, delivery: Delivery, until_s: float) -> None:
        """Keep a delivery until a time, on the monotonic clock."""
        move(delivery, Event.BACK_OFF)
        self._sequence += 1
        if delivery.failures is not None:
            delivery.failures.due_s = until_s
        heappush(self._backing_off, (until_s, self._sequence, delivery))

    def take_due(self, now_s: float) -> list[Delivery]:
        """Return the deliveries whose back-off is over, the first due first."""
        heap, due = self._backing_off, list[Delivery]()
        while heap and heap[0][0] <= now_s:
            due.append(heappop(heap)[2])
        return due

    def take(self, wanted: Callable[[Delivery], bool]) -> list[Delivery]:
        """Take the deliveries in back-off that are wanted; costs a look at all of them."""
        taken = [entry for entry in self._backing_off if wanted(entry[2])]
        if taken:
            self._backing_off = [entry for entry in self._backing_off if not wanted(entry[2])]
            heapify(self._backing_off)
        return [delivery for _, _, delivery in sorted(taken, key=itemgetter(0, 1))]

    @property
    def due_s(self) -> float:
        """Return when the first back-off ends; inf if there is none."""
        return self._backing_off[0][0] if self._backing_off else inf

    def remove(self, delivery: Delivery) -> None:
        """Keep a delivery no longer that backs off or is a suspect."""
        if delivery.seat is Seat.SUSPECT:
            self.suspects.remove(delivery)
        else:
            self.take(lambda each: each is delivery)

    def forget(self, assignment: Assignment) -> None:
        """Forget a partition that is no longer ours."""
        self.take(lambda each: each.assignment is assignment)
        self.suspects.forget(assignment)

    @property
    def backing_off(self) -> int:
        return len(self._backing_off)
