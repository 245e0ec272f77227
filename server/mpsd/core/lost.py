"""Deliveries that ended without an answer: one event must not blame many.

What is lost within `window_s` of the first loss is one event. If one delivery was lost, it is to blame and charged. If
several were, any of them may have brought the others down (a record that crashes the worker) or none (the worker was
restarted): none is charged and all become suspects, which are delivered again in groups beside normal traffic (`suspects`).
One that is lost again as the only suspect that was out is charged, whatever else is lost with it, and stays one; it is
cleared by the first answer.

    lost: a                        window over: a charged
    lost: a b c                    window over: a b c suspects, none charged
    lost: a(suspect, alone) b      window over: a charged, b suspect
    lost: a b (suspects, a group)  window over: a b suspects, none charged
"""

from collections.abc import Sequence
from typing import NamedTuple

from mpsd.core.delivery import Delivery
from mpsd.core.lanes import Event, move
from mpsd.core.record import TopicPartition


class Judged(NamedTuple):
    """The verdict on one event."""

    charged: Sequence[Delivery]
    suspects: Sequence[Delivery]


class LostDeliveries:
    """The lost deliveries of the event that is going on.

    Holds at most: what can be in flight at once.
    """

    __slots__ = ("_forgotten", "_lost", "_window_s", "due_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._lost: list[Delivery] = []
        self._forgotten = 0
        self.due_s: float | None = None

    def add(self, delivery: Delivery, now_s: float) -> None:
        """Add a delivery that ended without an answer to the event that is going on, or begin one with it."""
        move(delivery, Event.LOSE)
        if self.due_s is None:
            self.due_s = now_s + self._window_s
        self._lost.append(delivery)

    def judge(self, now_s: float) -> Judged:
        """Return whom to blame, once the window is over; nobody before."""
        if self.due_s is None or now_s < self.due_s:
            return Judged((), ())
        lost, self._lost, self.due_s = self._lost, [], None
        was_alone, self._forgotten = len(lost) + self._forgotten == 1, 0
        if was_alone:
            return Judged(lost, ())
        charged = [delivery for delivery in lost if was_suspect_alone(delivery)]
        return Judged(charged, [delivery for delivery in lost if not was_suspect_alone(delivery)])

    def forget(self, tp: TopicPartition) -> None:
        """Forget the deliveries of a partition that is no longer ours; they were of the event all the same."""
        self._forgotten += sum(delivery.assignment.tp == tp for delivery in self._lost)
        self._lost = [delivery for delivery in self._lost if delivery.assignment.tp != tp]

    def __len__(self) -> int:
        return len(self._lost)


def was_suspect_alone(delivery: Delivery) -> bool:
    """Return True if the record was delivered as a suspect, and no other suspect with it."""
    failures = delivery.failures
    return failures is not None and failures.suspect and failures.group == 1
