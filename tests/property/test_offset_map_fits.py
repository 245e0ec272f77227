"""However records of a partition settle, the map of its next commit fits and says the truth.

The real PendingQueue and OffsetMaps, with little space, against a set of offsets: reads, holes in the log, successes and
failures in any order of lanes, and restarts from what was committed last.
"""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from mpsd.config import Ordering
from mpsd.core.delivery import Delivery, FailureHistory
from mpsd.core.incarnation import Incarnation
from mpsd.core.metadata_text import Packing
from mpsd.core.offset_map import MapSpace
from mpsd.pipeline.offset_maps import OffsetMaps
from mpsd.pipeline.pending_queue import PartitionQueue, PendingBudget, PendingQueue
from mpsd.ports import CommitPoint, Position
from tests.fakes.records import Row, assigned

KEYS = 7


class OffsetMapFits(RuleBasedStateMachine):
    """One partition; the log has the offsets that `log` says, up to `log_end`."""

    @initialize(packing=st.sampled_from(Packing), units_max=st.integers(168, 240), begin=st.integers(0, 1 << 40))
    def begin(self, packing: Packing, units_max: int, begin: int) -> None:
        self.maps = OffsetMaps("billing", MapSpace(packing, units_max))
        self.log: list[int] = []
        self.log_end = begin
        self.settled: set[int] = set()
        self.charged: dict[int, int] = {}
        self.committed: CommitPoint | None = None
        self.open(begin)

    def open(self, begin: int) -> None:
        self.pending = PendingQueue(Ordering(), 10_000, 1 << 30, PendingBudget(1 << 30), lambda _: None, lambda: None)
        self.pending.map_bits_max = self.maps.space.worst_bits_max
        assignment = assigned()
        assignment.identify(Incarnation(bytes(range(16)), "cluster"))
        tracker = self.maps.restore(assignment, Position(self.committed, begin, 0, self.log_end))
        self.queue = PartitionQueue(assignment, tracker, -1, 0)
        self.pending.open(self.queue)
        self.taken: list[Delivery] = []

    @rule(steps=st.lists(st.sampled_from([1, 1, 1, 2, 5]), min_size=50, max_size=200))
    def produce(self, steps: Sequence[int]) -> None:
        """Produce records; a step of more than one leaves a hole."""
        for step in steps:
            self.log.append(self.log_end + step - 1)
            self.log_end += step

    @rule(step=st.integers(1, 1 << 16))
    def hole(self, step: int) -> None:
        self.log_end += step

    @rule(most=st.integers(1, 300))
    def read(self, most: int) -> None:
        rows = [Row(offset=o, key=b"%d" % (o % KEYS)) for o in self.log if o >= self.queue.tracker.end][:most]
        taken = self.pending.add(self.queue, rows, 0.0)
        if rows and not self.queue.tracker.unfinished:
            assert taken, "whatever the space, a partition of which nothing is held can be read"
        if taken == len(rows) and (not rows or rows[-1].offset == self.log[-1]):
            self.queue.tracker.read_to(self.log_end)

    @rule(seed=st.integers(), most=st.integers(1, 300), stuck=st.integers(0, 6))
    def settle(self, seed: int, most: int, stuck: int) -> None:
        """Deliveries end in any order: mostly well, but those of some keys mostly not."""
        random, ready = Random(seed), self.queue.lanes.ready
        for _ in range(most):
            self.taken += [self.queue.lanes.take() for _ in range(len(ready))]
            if not self.taken:
                break
            at = random.randrange(len(self.taken))
            offset = self.taken[at].record.offset
            if random.random() < (0.02 if offset % KEYS < stuck else 0.95):
                self.succeed(self.taken.pop(at))
            else:
                self.fail(self.taken[at])

    def succeed(self, delivery: Delivery) -> None:
        offset = delivery.record.offset
        assert offset not in self.settled, "delivered again though it was done when last committed"
        self.settled.add(offset)
        self.charged.pop(offset, None)
        self.pending.finish(self.queue, delivery)

    def fail(self, delivery: Delivery) -> None:
        offset = delivery.record.offset
        delivery.failures = delivery.failures or FailureHistory()
        assert delivery.failures.attempts == self.charged.get(offset, 0), "attempts were forgotten"
        delivery.failures.attempts += 1
        self.charged[offset] = delivery.failures.attempts

    @rule()
    def restart(self) -> None:
        """From the last commit, which the invariant has just made: nothing is forgotten but attempts that did not fit."""
        assert self.committed is not None
        self.open(self.committed.next_offset)
        kept = self.queue.tracker.restored_attempts
        assert len(self.charged) - len(kept) == self.maps.attempts_left_out
        self.charged = dict(kept)

    @precondition(lambda self: hasattr(self, "queue"))
    @invariant()
    def the_map_fits_and_is_true(self) -> None:
        tracker = self.queue.tracker
        self.committed = self.maps.point(self.queue.assignment, tracker)
        assert len(self.committed.metadata) <= self.maps.space.units_max
        position = Position(self.committed, tracker.next_offset, 0, self.log_end)
        back = self.maps.restore(self.queue.assignment, position)
        assert back.snapshot().runs == tracker.snapshot().runs, "something finished was left out"
        for offset in self.log:
            done = offset < back.end or any(run.start <= offset < run.stop for run in back.restored)
            assert not done or offset in self.settled, "skipped"
        assert not self.maps.ignored

    @override
    def teardown(self) -> None:
        """Once all of it is delivered, nothing is held up by the map."""
        if hasattr(self, "queue"):
            self.deliver_all()
            while self.queue.tracker.end < self.log_end:
                self.read(500)
                self.deliver_all()
            assert self.queue.tracker.next_offset == self.log_end
            assert set(self.log) == self.settled

    def deliver_all(self) -> None:
        ready = self.queue.lanes.ready
        while ready or self.taken:
            self.succeed(self.queue.lanes.take() if ready else self.taken.pop())


TestOffsetMapFits = OffsetMapFits.TestCase
TestOffsetMapFits.settings = settings(max_examples=100, stateful_step_count=30)
pytestmark = pytest.mark.filterwarnings("error")
