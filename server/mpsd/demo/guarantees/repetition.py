"""Nothing is accepted twice, but what a kill makes unavoidable."""

from collections import Counter
from collections.abc import Collection, Sequence

from typing_extensions import override

from mpsd.core.outcome import Delivered, Outcome
from mpsd.core.record import Record, TopicPartition
from mpsd.demo.guarantees.guarantee import Fault, Guarantee, RecordPosition


class BoundedRepetition(Guarantee):
    """A record is accepted once; after a kill, those in flight or accepted since the last commit may be once more.

    Holds:   1 2 3 · 1 2 kill 2 3 (2 was in flight)      Breaks:  1 2 2 3 · 1 2 3 (long ago) kill 1

    Args:
        commit_interval_s: how long before a kill an acceptance may be forgotten: the configured interval of commits,
            and what one commit takes.
    """

    promise = "nothing delivered twice"

    def __init__(self, commit_interval_s: float = 0.0) -> None:
        self._commit_interval_s = commit_interval_s
        self._accepted_at_s: dict[RecordPosition, float] = {}
        self._in_flight: Counter[RecordPosition] = Counter()
        self._repetitions: Counter[RecordPosition] = Counter()
        self._allowed: Counter[RecordPosition] = Counter()

    @override
    def on_delivery_started(self, record: Record, at_s: float, attempt: int = 1) -> None:
        self._in_flight[RecordPosition.of(record)] += 1

    @override
    def on_delivery_ended(self, record: Record, at_s: float, outcome: Outcome) -> None:
        position = RecordPosition.of(record)
        self._in_flight[position] -= 1
        if not self._in_flight[position]:
            del self._in_flight[position]
        if isinstance(outcome, Delivered):
            self._repetitions[position] += position in self._accepted_at_s
            self._accepted_at_s[position] = at_s

    @override
    def on_daemon_killed(
        self, at_s: float, partitions: Collection[TopicPartition] | None = None, since_s: float | None = None
    ) -> None:
        since_s = at_s - self._commit_interval_s if since_s is None else since_s
        recent = {position for position, accepted_at_s in self._accepted_at_s.items() if accepted_at_s >= since_s}
        self._allowed.update(position for position in recent | self._in_flight.keys() if position.is_of(partitions))

    @override
    def faults(self) -> Sequence[Fault]:
        return [
            Fault(position, f"was accepted {count + 1} times, {self._allowed[position] + 1} allowed")
            for position, count in self._repetitions.items()
            if count > self._allowed[position]
        ]
