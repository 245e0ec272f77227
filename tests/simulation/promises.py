"""Promises to operators as guarantees: see `mpsd.demo.guarantees`. The Witness calls them, not events."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from typing_extensions import override

from mpsd.core.control import EntityKey
from mpsd.core.delivery import Assignment
from mpsd.core.pauses import Scope
from mpsd.core.record import Record, TopicPartition
from mpsd.core.resets import AGE_MAX_MS, Target
from mpsd.demo.guarantees import Fault, Guarantee, RecordPosition
from tests.simulation.lives import Begun


class NothingAgainstAPause(Guarantee):
    """From the moment in which a pause is confirmed, until something else is decided, no delivery against it starts.

    Holds:   1( pause … confirmed 1) resume 2(      Breaks:  pause … confirmed 1(
    """

    promise = "nothing starts against a confirmed pause"

    def __init__(self) -> None:
        self._confirmed: dict[EntityKey, tuple[Scope, int | None]] = {}
        self._faults: list[Fault] = []

    def confirmed(self, key: EntityKey, scope: Scope, until_ms: int | None) -> None:
        self._confirmed[key] = scope, until_ms

    def decided(self, key: EntityKey) -> None:
        """Somebody may read something else of it from now on."""
        self._confirmed.pop(key, None)

    def time_is(self, now_ms: int) -> None:
        """End the pauses whose time is over, whatever the clock shows later."""
        for key, (_, until_ms) in list(self._confirmed.items()):
            if until_ms is not None and now_ms >= until_ms:
                del self._confirmed[key]

    def on_sent(self, record: Record, by: str, at_s: float) -> None:
        """Note that a daemon hands the record to its adapter."""
        tp = TopicPartition(record.topic, record.partition)
        for scope, _ in self._confirmed.values():
            if scope.covers(tp) and scope.key in {None, record.key}:
                self._faults.append(
                    Fault(RecordPosition.of(record), f"was sent by {by} at {at_s:.3f} s, though paused")
                )

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults


class ControlReadFirst(Guarantee):
    """Nothing of a partition is delivered before all that was decided until its assignment is known to its owner.

    Holds:   decided 7, assigned, read 7, 1(        Breaks:  decided 7, assigned, 1(, read 7
    """

    promise = "control state is read before delivery"

    def __init__(self) -> None:
        self._needed: dict[Assignment, int] = {}
        self._faults: list[Fault] = []

    def assigned(self, assignment: Assignment, revision: int) -> None:
        """Note an assignment, and the revision of the last control record now."""
        self._needed[assignment] = revision

    def on_sent(self, record: Record, assignment: Assignment, by: str, revision: int) -> None:
        """Judge a delivery by the revision of the last control record that the daemon has applied."""
        needed = self._needed.get(assignment, -1)
        if revision < needed:
            said = f"was sent by {by}, which knew control revision {revision}; at its assignment there was {needed}"
            self._faults.append(Fault(RecordPosition.of(record), said))

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults


class _Written(NamedTuple):
    revision: int
    targets: Mapping[TopicPartition, Target]
    at_ms: int


class ResetsApplied(Guarantee):
    """Each partition applies resets once and in the order of their revisions, the last of them without fail.

    What is delivered then begins at the target, with an epoch that nobody has seen before.

    Holds:   a, b written, commits a a b · a, b written, commits b       Breaks:  commits b a · a b a · none
    """

    promise = "resets applied once, in order"

    def __init__(self) -> None:
        self._written: dict[str, _Written] = {}
        self._applied: dict[TopicPartition, list[str]] = {}
        self._latest_ms = 0
        self._faults: list[Fault] = []

    def time_is(self, now_ms: int) -> None:
        self._latest_ms = max(self._latest_ms, now_ms)

    def written(self, reset_id: str, revision: int, targets: Mapping[TopicPartition, Target], at_ms: int) -> None:
        self._written.setdefault(reset_id, _Written(revision, targets, at_ms))

    def applied(self, tp: TopicPartition, reset_id: str, offset: int) -> None:
        """Note a commit that names another reset than the one before."""
        before, known = self._applied.setdefault(tp, []), self._written.get(reset_id)
        if known is None:
            self._faults.append(Fault(None, f"{tp} names reset {reset_id!r}, which nobody wrote, after {before}"))
        elif tp not in known.targets or known.targets[tp].offset != offset:
            self._faults.append(Fault(None, f"{tp} goes to {offset} with reset {reset_id}, which says otherwise"))
        elif any(self._written[other].revision >= known.revision for other in before if other in self._written):
            self._faults.append(Fault(None, f"{tp} applies reset {reset_id} after {before}"))
        before.append(reset_id)

    def delivered(self, record: Record, epoch: int, begun: Begun) -> None:
        """Note a delivery of a partition that began at a reset's offset."""
        if record.offset < begun.offset:
            self._faults.append(Fault(RecordPosition.of(record), f"is delivered though a reset went to {begun.offset}"))
        if epoch <= begun.generation:
            said = f"is delivered after reset {begun.reset_id} with epoch {epoch}, which it had before"
            self._faults.append(Fault(RecordPosition.of(record), said))

    @override
    def faults(self) -> Sequence[Fault]:
        if not self._written:
            return self._faults
        last_id, last = max(self._written.items(), key=lambda each: each[1].revision)
        if self._latest_ms - last.at_ms > AGE_MAX_MS:
            return self._faults
        return self._faults + [
            Fault(None, f"{tp} has not applied reset {last_id}")
            for tp in last.targets
            if last_id not in self._applied.get(tp, ())
        ]


class WrittenDeadLetter(NamedTuple):
    """A dead letter of a source partition."""

    source: TopicPartition
    offset: int


class MatchedDeadLettersReplayed(Guarantee):
    """A task that is done has replayed every dead letter that it matches, or one before it has; and every task ends.

    Holds:   matched 1 2, task: 1) 2x, done        Breaks:  matched 1 2, task: 1), done · never done
    """

    promise = "every matched dead letter is replayed"

    def __init__(self) -> None:
        self._replayed: set[WrittenDeadLetter] = set()
        self._matched: dict[str, Collection[WrittenDeadLetter]] = {}
        self._unfinished: dict[str, str] = {}

    def replayed(self, source: TopicPartition, offset: int) -> None:
        """Note that a record was accepted, written to its topic, or is durably dead again."""
        self._replayed.add(WrittenDeadLetter(source, offset))

    def done(self, task: str, matched: Collection[WrittenDeadLetter]) -> None:
        self._matched[task] = matched

    def unfinished(self, task: str, state: str) -> None:
        self._unfinished[task] = state

    @override
    def faults(self) -> Sequence[Fault]:
        missing = [
            Fault(
                None,
                f"dead letter {dead_letter.offset} of {dead_letter.source} was not replayed by {task}, which is done",
            )
            for task, matched in self._matched.items()
            for dead_letter in sorted(set(matched) - self._replayed)
        ]
        return missing + [Fault(None, f"{task} is {state}") for task, state in self._unfinished.items()]
