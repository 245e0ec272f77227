"""The OffsetTracker against sets of offsets."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mpsd.core.delivery import FailureHistory
from mpsd.core.offset_tracker import OffsetTracker, Run
from tests.fakes.records import delivery


def offsets_of(runs: tuple[Run, ...]) -> set[int]:
    return {offset for run in runs for offset in range(run.start, run.stop)}


def runs_of(offsets: set[int]) -> list[Run]:
    runs: list[Run] = []
    for offset in sorted(offsets):
        if runs and runs[-1].stop == offset:
            runs[-1] = Run(runs[-1].start, offset + 1)
        else:
            runs.append(Run(offset, offset + 1))
    return runs


class TrackerMachine(RuleBasedStateMachine):
    """A log is read, with holes, and its records are finished in any order; now and then the daemon starts anew."""

    @initialize(begin=st.integers(0, 1_000_000), ahead=st.sets(st.integers(1, 30), max_size=15))
    def begin(self, begin: int, ahead: set[int]) -> None:
        self.end = begin
        self.unfinished: dict[int, int] = {}
        self.finished = {begin + offset for offset in ahead}
        self.tracker = OffsetTracker(begin, runs_of(self.finished))

    @rule(hole=st.integers(0, 4), attempts=st.integers(0, 3))
    def read(self, hole: int, attempts: int) -> None:
        offset = self.end + hole
        self.end = offset + 1
        if self.tracker.restored and self.tracker.was_finished(offset):
            assert offset in self.finished
            self.tracker.read_to(offset + 1)
            return
        assert offset not in self.finished
        made = delivery(offset)
        if attempts:
            made.failures = FailureHistory(attempts=attempts)
        self.tracker.read(offset, made)
        self.unfinished[offset] = attempts

    @rule(hole=st.integers(0, 4))
    def read_over_a_hole(self, hole: int) -> None:
        self.end += hole
        self.tracker.read_to(self.end)

    @precondition(lambda self: self.unfinished)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.unfinished)))
        before = self.tracker.state
        self.tracker.finished(offset)
        assert self.tracker.state != before
        del self.unfinished[offset]
        self.finished.add(offset)

    @rule()
    def start_anew(self) -> None:
        """Start again: unfinished records are read again, and finished ones are not."""
        snapshot = self.tracker.snapshot()
        self.finished = offsets_of(snapshot.runs)
        self.tracker = OffsetTracker(snapshot.next_offset, snapshot.runs)
        self.end, self.unfinished = snapshot.next_offset, {}
        assert self.tracker.snapshot().next_offset == snapshot.next_offset
        assert self.tracker.snapshot().runs == snapshot.runs

    @invariant()
    def the_commit_stands_at_the_first_unfinished(self) -> None:
        assert self.tracker.next_offset == min(self.unfinished, default=self.end)

    @invariant()
    def the_runs_are_all_that_is_finished_or_never_was(self) -> None:
        snapshot = self.tracker.snapshot()
        beyond = range(snapshot.next_offset, max(self.finished, default=-1) + 1)
        assert offsets_of(snapshot.runs) == {
            offset
            for offset in beyond
            if offset not in self.unfinished and (offset < self.end or offset in self.finished)
        }
        assert list(snapshot.runs) == runs_of(offsets_of(snapshot.runs))

    @invariant()
    def the_attempts_are_those_of_the_unfinished(self) -> None:
        spent = {offset: attempts for offset, attempts in self.unfinished.items() if attempts}
        assert dict(self.tracker.snapshot().attempts) == spent


TestOffsetTracker = TrackerMachine.TestCase
