"""Promises about an endpoint, judged by a naive model of each daemon: see `mpsd.demo.guarantees`.

A *row* is what a daemon's deliveries came to since the last one that succeeded. The model knows which rows must be an outage,
which cannot be one, and how many rejected records of a row may be dead-lettered; in between it says nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from mpsd.config import RestDelivery, Subscription
from mpsd.core.delivery import Delivery
from mpsd.core.outcome import Delivered, Outcome, Rejected, Retryable, Unavailable
from mpsd.core.record import Record
from mpsd.demo.guarantees import Fault, Guarantee, RecordPosition
from tests.simulation.application import Before

Lane = tuple[object, object]


@dataclass(slots=True)
class Row:
    """Failures in a row at one daemon.

    Attributes:
        fresh: lanes of records that never failed before, by an answer.
        suspected: lanes of records that are not clearly to blame themselves.
        answered: answered failures of fresh records.
        began: attempts of each record when it first failed in the row.
        failures: answered failures of each record in the row.
        rejected: lanes of rejected records.
        dead-lettered: rejected records that may be dead-lettered.
    """

    fresh: set[Lane] = field(default_factory=set)
    suspected: set[Lane] = field(default_factory=set)
    answered: int = 0
    began: dict[Delivery, int] = field(default_factory=dict)
    failures: Counter[Delivery] = field(default_factory=Counter)
    rejected: set[Lane] = field(default_factory=set)
    entry: int = 0


class EndpointPromises(Guarantee):
    """An outage of any answer spends no attempt, a poison record among successes dies, and a brake dead-letters so many.

    Holds:   a! b! c! … (out) a) : a b c have spent none       Breaks:  a! b! c! … a) : a has spent one
             a! x) a! x) … a dead                                       a! x) a! x) … for ever
             ax bx … (N dead letters) cx dx wait                        ax bx … (N dead letters) cx dead

    Args:
        spared: told of records that were not charged, or whose attempts were given back, and how many.
    """

    promise = "an outage spends no attempts, poison dies, a brake holds"

    def __init__(self, subscription: Subscription, spared: Callable[[Delivery, int], None]) -> None:
        self._breaker, self._retry = subscription.breaker, subscription.retry
        self._in_flight_max = _in_flight_max(subscription)
        self._spared = spared
        self._rows: dict[object, Row] = {}
        self._successes: Counter[object] = Counter()
        self._first_failed: dict[Delivery, int] = {}
        self._must_wait: dict[Delivery, object] = {}
        self._spent: dict[Delivery, int] = {}
        self._faults: list[Fault] = []

    def settled(self, daemon: object, delivery: Delivery, outcome: Outcome, before: Before) -> None:
        """See what the daemon was told and did, just after it did.

        Args:
            before: what was so before it was told.
        """
        if before.attempts > self._spent.pop(delivery, before.attempts):
            self._fault(delivery.record, "came again after an outage with an attempt that was spent in it")
        row = self._rows.setdefault(daemon, Row())
        match outcome:
            case Delivered():
                self._succeeded(daemon, delivery, row, before)
            case Rejected() if not before.is_braked:
                self._rejected(daemon, delivery, row)
            case Retryable(lost=lost):
                self._failed(daemon, delivery, row, before, is_answered=not lost)
            case Unavailable():
                self._failed(daemon, delivery, row, before, is_answered=False)
            case _:
                pass

    def look(self, daemon: object, is_braked: bool) -> None:
        """See which records of the row were not charged, or have attempts back."""
        row = self._rows.setdefault(daemon, Row())
        for each, began in row.began.items():
            spared = row.failures[each] - max(0, _attempts(each) - began)
            if spared <= 0:
                continue
            row.failures[each] -= spared
            self._spared(each, spared)
            if len(row.suspected) < self._breaker.lanes_min and not is_braked:
                self._fault(each.record, f"failed and was not charged, though only {len(row.suspected)} lanes fail")

    def dead_lettered(self, delivery: Delivery, disposition: str) -> None:
        """See a dead letter of the record."""
        if disposition == "rejected" and delivery in self._must_wait:
            self._fault(delivery.record, "is a dead letter though the brake should have engaged")
        self._forget(delivery)

    def _succeeded(self, daemon: object, delivery: Delivery, row: Row, before: Before) -> None:
        self.look(daemon, before.is_braked)
        self._successes[daemon] += 1
        is_outage = len(row.fresh) >= self._breaker.lanes_min and row.answered >= self._breaker.failures_min
        for each, began in row.began.items():
            if is_outage and each is not delivery and _attempts(each) > began:
                self._spent[each] = began  # it may be on its way into the dead-letter topic
        self._must_wait.clear()  # one success anywhere releases the brake everywhere
        for other in self._rows.values():
            other.rejected, other.entry = set(), 0
        self._forget(delivery)
        self._rows[daemon] = Row()

    def _rejected(self, daemon: object, delivery: Delivery, row: Row) -> None:
        row.rejected.add(_lane(delivery))
        lanes = len(row.rejected)
        if row.entry >= self._breaker.rejections_max and lanes >= self._breaker.lanes_min:
            self._must_wait[delivery] = daemon
        else:
            row.entry += 1
            self._must_wait.pop(delivery, None)

    def _failed(self, daemon: object, delivery: Delivery, row: Row, before: Before, *, is_answered: bool) -> None:
        since = self._successes[daemon] - self._first_failed.setdefault(delivery, self._successes[daemon])
        is_own = is_answered and since >= self._breaker.successes_between + self._in_flight_max
        if not is_own:
            row.suspected.add(_lane(delivery))
        if not is_answered:
            self.look(daemon, before.is_braked)
            return
        if not since and delivery not in row.began:
            row.fresh.add(_lane(delivery))
        row.answered += _lane(delivery) in row.fresh
        row.began.setdefault(delivery, before.attempts)
        row.failures[delivery] += 1
        self.look(daemon, before.is_braked)

    def _forget(self, delivery: Delivery) -> None:
        self._first_failed.pop(delivery, None)
        self._must_wait.pop(delivery, None)
        self._spent.pop(delivery, None)
        for row in self._rows.values():
            row.began.pop(delivery, None)

    def _fault(self, record: Record, text: str) -> None:
        self._faults.append(Fault(RecordPosition.of(record), text))

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults


def _in_flight_max(subscription: Subscription) -> int:
    delivery = subscription.delivery
    assert isinstance(delivery, RestDelivery)
    return delivery.concurrency_max * delivery.batch.records_max


def _attempts(delivery: Delivery) -> int:
    return delivery.failures.attempts if delivery.failures is not None else 0


def _lane(delivery: Delivery) -> Lane:
    return (delivery.assignment, delivery) if delivery.lane is None else (delivery.assignment, delivery.lane)
