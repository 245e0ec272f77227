"""Attempts are counted when the record fails, and only then."""

from collections import Counter
from collections.abc import Collection, Sequence

from typing_extensions import override

from mpsd.core.outcome import Delivered, Outcome, Rejected, Retryable, Unavailable
from mpsd.core.record import Record, TopicPartition
from mpsd.demo.guarantees.guarantee import Fault, Guarantee, RecordPosition

GIVEN_BACK_S = 0.2
"""Time before an outage is seen from outside in which the last delivery may have succeeded."""


class OutageSpendsNoAttempts(Guarantee):
    """The attempts of a record are its own failures; those of the endpoint while it is out of reach cost nothing.

    Outside of a declared outage a lost or unavailable delivery may cost an attempt: there it can be the record's fault;
    so may one that began before the outage and was not answered in time.

    Holds:   1 fails (attempt 1), outage, 1 accepted (attempt 2)
    Breaks:  1 fails (attempt 1), outage, 1 accepted (attempt 4) · outage, dead letter 1 as attempts-exhausted
    """

    promise = "the outage spent no attempts"

    def __init__(self) -> None:
        self._outage = False
        self._failures: Counter[RecordPosition] = Counter()
        self._began_well: set[RecordPosition] = set()
        self._faults: list[Fault] = []

    @override
    def on_outage_began(self, at_s: float) -> None:
        self._outage = True

    @override
    def on_outage_ended(self, at_s: float) -> None:
        self._outage = False

    @override
    def on_delivery_started(self, record: Record, at_s: float, attempt: int = 1) -> None:
        position = RecordPosition.of(record)
        if not self._outage:
            self._began_well.add(position)
        if attempt > self._failures[position] + 1:
            self._faults.append(
                Fault(position, f"came as attempt {attempt} after {self._failures[position]} failures of its own")
            )

    @override
    def on_delivery_ended(self, record: Record, at_s: float, outcome: Outcome) -> None:
        endpoint_s_fault = isinstance(outcome, Unavailable) or (isinstance(outcome, Retryable) and outcome.lost)
        if (
            isinstance(outcome, Retryable)
            and outcome.code == "timeout"
            and RecordPosition.of(record) in self._began_well
        ):
            endpoint_s_fault = False
        self._began_well.discard(RecordPosition.of(record))
        if isinstance(outcome, Retryable | Unavailable | Rejected) and not (endpoint_s_fault and self._outage):
            self._failures[RecordPosition.of(record)] += 1

    @override
    def on_dead_letter(self, record: Record, at_s: float, disposition: str, reason: str) -> None:
        position = RecordPosition.of(record)
        if disposition == "attempts-exhausted" and not self._failures[position]:
            self._faults.append(Fault(position, "is a dead letter for its attempts, and never failed of its own"))

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults


class AttemptsSurvive(Guarantee):
    """A failure that counted is not forgotten, but by a kill: those since the last commit may be.

    Failures in an outage, and just before it, are its own: they cost nothing, or are given back.

    Holds:   1 fails (attempt 1), 1 fails (attempt 2), 1 accepted (attempt 3) · 1 fails (attempt 1), outage, 1 fails (attempt 1)
    Breaks:  1 fails (attempt 1), 1 fails (attempt 1)

    Args:
        commit_interval_s: how long before a kill a failure may be forgotten.
    """

    promise = "attempts are not forgotten"

    def __init__(self, commit_interval_s: float = 0.0) -> None:
        self._commit_interval_s = commit_interval_s
        self._outage = False
        self._failed_at_s: dict[RecordPosition, list[float]] = {}
        self._faults: list[Fault] = []

    @override
    def on_delivery_started(self, record: Record, at_s: float, attempt: int = 1) -> None:
        position = RecordPosition.of(record)
        failures = len(self._failed_at_s.get(position, ()))
        if attempt < failures + 1:
            self._faults.append(Fault(position, f"came as attempt {attempt} after {failures} failures"))

    @override
    def on_delivery_ended(self, record: Record, at_s: float, outcome: Outcome) -> None:
        if isinstance(outcome, Retryable) and not outcome.lost and not self._outage:
            self._failed_at_s.setdefault(RecordPosition.of(record), []).append(at_s)
        elif isinstance(outcome, Delivered | Rejected):
            self._failed_at_s.pop(RecordPosition.of(record), None)

    @override
    def on_outage_ended(self, at_s: float) -> None:
        self._outage = False

    @override
    def on_outage_began(self, at_s: float) -> None:
        self._outage = True
        for position, failures in self._failed_at_s.items():
            self._failed_at_s[position] = [failed_at_s for failed_at_s in failures if failed_at_s < at_s - GIVEN_BACK_S]

    @override
    def on_spared(self, record: Record, failures: int) -> None:
        if failed_at_s := self._failed_at_s.get(RecordPosition.of(record)):
            del failed_at_s[-failures:]

    @override
    def on_daemon_killed(
        self, at_s: float, partitions: Collection[TopicPartition] | None = None, since_s: float | None = None
    ) -> None:
        since_s = at_s - self._commit_interval_s if since_s is None else since_s
        for position, failures in self._failed_at_s.items():
            if position.is_of(partitions):
                self._failed_at_s[position] = [failed_at_s for failed_at_s in failures if failed_at_s < since_s]

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults
