"""Nothing is lost: every record is settled, and no commit says more than that."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from heapq import heappop, heappush

from typing_extensions import override

from mpsd.core.outcome import Delivered, Outcome, Rejected
from mpsd.core.record import Record, TopicPartition
from mpsd.demo.guarantees.guarantee import Fault, Guarantee, RecordPosition


class EveryRecordSettled(Guarantee):
    """At least once: every record ends as accepted, or in the dead-letter topic.

    Holds:   produced 1 2 3, accepted 1 3, dead letter 2      Breaks:  produced 1 2 3, accepted 1 3
    """

    promise = "every record accepted or dead-lettered"

    def __init__(self) -> None:
        self._produced: dict[RecordPosition, None] = {}
        self._settled: set[RecordPosition] = set()

    @override
    def on_produced(self, record: Record) -> None:
        self._produced[RecordPosition.of(record)] = None

    @override
    def on_delivery_ended(self, record: Record, at_s: float, outcome: Outcome) -> None:
        if isinstance(outcome, Delivered):
            self._settled.add(RecordPosition.of(record))

    @override
    def on_dead_letter(self, record: Record, at_s: float, disposition: str, reason: str) -> None:
        self._settled.add(RecordPosition.of(record))

    @override
    def on_removed(self, record: Record) -> None:
        self._produced.pop(RecordPosition.of(record), None)

    @override
    def faults(self) -> Sequence[Fault]:
        return [
            Fault(position, "was neither accepted nor dead-lettered")
            for position in self._produced
            if position not in self._settled
        ]


class DeadLetterSaysWhy(Guarantee):
    """A dead letter has a reason, and a rejected record is exactly one dead letter, but what a kill makes unavoidable.

    A rejected record that waited behind a brake may be accepted instead.

    Holds:   1 rejected "no such customer", dead letter 1 "rejected: no such customer"
    Breaks:  1 rejected, no dead letter · dead letter 1 without a reason · dead letter 1 twice · 1 accepted and dead-lettered
    """

    promise = "each dead letter once, and with its reason"

    def __init__(self, commit_interval_s: float = 0.0) -> None:
        self._commit_interval_s = commit_interval_s
        self._accepted: set[RecordPosition] = set()
        self._rejected: dict[RecordPosition, str] = {}
        self._dead_letters: defaultdict[RecordPosition, list[tuple[str, str]]] = defaultdict(list)
        self._open: set[RecordPosition] = set()
        self._removed: set[RecordPosition] = set()
        self._settled_at_s: dict[RecordPosition, float] = {}
        self._allowed: Counter[RecordPosition] = Counter()

    @override
    def on_delivery_started(self, record: Record, at_s: float, attempt: int = 1) -> None:
        self._open.add(RecordPosition.of(record))

    @override
    def on_delivery_ended(self, record: Record, at_s: float, outcome: Outcome) -> None:
        if isinstance(outcome, Rejected):
            self._rejected[RecordPosition.of(record)] = outcome.reason
        elif isinstance(outcome, Delivered):
            self._accepted.add(RecordPosition.of(record))
            self._settle(RecordPosition.of(record), at_s)

    def _settle(self, position: RecordPosition, at_s: float) -> None:
        self._open.discard(position)
        self._settled_at_s[position] = at_s

    @override
    def on_dead_letter(self, record: Record, at_s: float, disposition: str, reason: str) -> None:
        self._dead_letters[RecordPosition.of(record)].append((disposition, reason))
        self._settle(RecordPosition.of(record), at_s)

    @override
    def on_daemon_killed(
        self, at_s: float, partitions: Collection[TopicPartition] | None = None, since_s: float | None = None
    ) -> None:
        since_s = at_s - self._commit_interval_s if since_s is None else since_s
        recent = {position for position, settled_at_s in self._settled_at_s.items() if settled_at_s >= since_s}
        self._allowed.update(position for position in recent | self._open if position.is_of(partitions))

    @override
    def on_removed(self, record: Record) -> None:
        self._removed.add(RecordPosition.of(record))

    @override
    def faults(self) -> Sequence[Fault]:
        missing = [
            Fault(p, "was rejected and is not in the dead-letter topic")
            for p in self._rejected.keys() - self._dead_letters - self._removed - self._accepted
        ]
        return missing + [
            Fault(position, text)
            for position, dead_letters in self._dead_letters.items()
            for text in self._wrong(position, dead_letters)
        ]

    def _wrong(self, position: RecordPosition, dead_letters: Sequence[tuple[str, str]]) -> list[str]:
        disposition, reason = dead_letters[0]
        wrong = []
        if len(dead_letters) > 1 + self._allowed[position]:
            wrong.append(f"is in the dead-letter topic {len(dead_letters)} times")
        if position in self._accepted and not self._allowed[position]:
            wrong.append("was accepted and dead-lettered")
        if not disposition or not reason:
            wrong.append("is a dead letter that does not say why")
        if disposition == "rejected" and position not in self._rejected:
            wrong.append("is a dead letter as rejected, and the application never rejected it")
        if disposition == "rejected" and self._rejected.get(position, "") not in reason:
            wrong.append("is a dead letter without the reason that the application gave")
        return wrong


class CommitNeverPassesUnfinished(Guarantee):
    """A commit never passes a record that is neither accepted nor dead-lettered.

    Holds:   1 accepted, 2 accepted, commit 3      Breaks:  1 accepted, 3 accepted, commit 4 (where is 2?)
    """

    promise = "no commit passes an unfinished record"

    def __init__(self) -> None:
        self._produced: defaultdict[TopicPartition, list[int]] = defaultdict(list)
        self._finished: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        self._faults: dict[RecordPosition, Fault] = {}

    @override
    def on_produced(self, record: Record) -> None:
        heappush(self._produced[TopicPartition(record.topic, record.partition)], record.offset)

    @override
    def on_delivery_ended(self, record: Record, at_s: float, outcome: Outcome) -> None:
        if isinstance(outcome, Delivered):
            self._finished[TopicPartition(record.topic, record.partition)].add(record.offset)

    @override
    def on_dead_letter(self, record: Record, at_s: float, disposition: str, reason: str) -> None:
        self._finished[TopicPartition(record.topic, record.partition)].add(record.offset)

    @override
    def on_removed(self, record: Record) -> None:
        self._finished[TopicPartition(record.topic, record.partition)].add(record.offset)

    @override
    def on_committed(self, tp: TopicPartition, next_offset: int, at_s: float) -> None:
        waiting, finished = self._produced[tp], self._finished[tp]
        while waiting and (waiting[0] in finished or waiting[0] < next_offset):
            offset = heappop(waiting)
            if offset not in finished:
                position = RecordPosition(tp.topic, tp.partition, offset)
                self._faults[position] = Fault(
                    position, f"was unfinished when {next_offset} was committed at {at_s:.3f} s"
                )

    @override
    def faults(self) -> Sequence[Fault]:
        return list(self._faults.values())


class LagReachesZero(Guarantee):
    """Once all faults have ended, everything is settled and committed.

    Holds:   commit 3, commit 5, log end 5      Breaks:  commit 3, log end 5
    """

    promise = "committed offset = log end"

    def __init__(self) -> None:
        self._committed: dict[TopicPartition, int] = {}
        self._log_end: dict[TopicPartition, int] = {}

    @override
    def on_committed(self, tp: TopicPartition, next_offset: int, at_s: float) -> None:
        self._committed[tp] = next_offset

    @override
    def on_log_end(self, tp: TopicPartition, next_offset: int) -> None:
        self._log_end[tp] = next_offset

    @override
    def faults(self) -> Sequence[Fault]:
        return [
            Fault(None, f"{tp} is committed up to {self._committed.get(tp, 'nothing')}, its log ends at {end}")
            for tp, end in sorted(self._log_end.items())
            if self._committed.get(tp, 0) != end
        ]


class CommitNeverGoesBack(Guarantee):
    """Commits never go back: a commit of a membership that is over must not overwrite its successor's.

    Holds:   commit 3, commit 5      Breaks:  commit 5, commit 3
    """

    promise = "no commit goes back"

    def __init__(self) -> None:
        self._committed: dict[TopicPartition, int] = {}
        self._faults: list[Fault] = []

    @override
    def on_committed(self, tp: TopicPartition, next_offset: int, at_s: float) -> None:
        before = self._committed.get(tp, next_offset)
        if next_offset < before:
            self._faults.append(Fault(None, f"{tp} was committed at {next_offset} after {before}, at {at_s:.3f} s"))
        self._committed[tp] = next_offset

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults
