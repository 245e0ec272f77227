"""Lanes that give several records at a time, against a list per key."""

from enum import Enum

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mpsd.core.delivery import Delivery, FailureHistory
from mpsd.core.offset_tracker import OffsetTracker
from mpsd.pipeline.order_iterator import OrderIterator
from mpsd.pipeline.ordering import Ordering
from mpsd.pipeline.pending_queue import PartitionQueue, PendingBudget, PendingQueue
from tests.fakes.records import FAILED, Row, assigned

KEYS = st.sampled_from([None, b"a", b"a", b"b", b"c"])
PARTITIONS = 2
PARTITION = st.integers(0, PARTITIONS - 1)


class State(Enum):
    WAITS = "waits"
    OUT = "out"
    BACKS_OFF = "backs off"
    IS_DEAD_LETTERED = "is being dead-lettered"


class Held:
    """One unfinished record, as the model sees it."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.state = State.WAITS
        self.has_failed = False


class RunsMachine(RuleBasedStateMachine):
    """Records are read and handed out in runs; of a run a prefix succeeds; what fails is retried or dead-lettered."""

    @initialize(runs_max=st.integers(2, 4))
    def begin(self, runs_max: int) -> None:
        self.runs_max = runs_max
        self.order = OrderIterator(runs_max)
        self.pending = PendingQueue(
            Ordering(), 1000, 1 << 40, PendingBudget(1 << 40), self.order.ready, lambda: None
        )  # fmt: skip
        self.queues = [PartitionQueue(assigned(partition), OffsetTracker(0), -1, 0) for partition in range(PARTITIONS)]
        for queue in self.queues:
            self.pending.open(queue)
        self.lanes: dict[object, list[Held]] = {}
        self.runs: list[tuple[object, list[Held]]] = []

    def lane(self, delivery: Delivery) -> object:
        return (delivery.assignment, delivery.lane if delivery.lane is not None else delivery)

    @rule(partition=PARTITION, keys=st.lists(KEYS, max_size=6))
    def read(self, partition: int, keys: list[bytes | None]) -> None:
        queue = self.queues[partition]
        end = queue.tracker.end
        rows = [Row(partition=partition, offset=end + at, key=key) for at, key in enumerate(keys)]
        assert self.pending.add(queue, rows, 0.0) == len(rows)
        for row in rows:
            read = queue.tracker.unfinished[row.offset]
            self.lanes.setdefault(self.lane(read), []).append(Held(read))

    @rule(records_max=st.integers(0, 12))
    def take(self, records_max: int) -> None:
        ready = {lane for lane, held in self.lanes.items() if held[0].state is State.WAITS}
        taken = [delivery for _, delivery in self.order.take(records_max, 1 << 40)]
        assert min(records_max, len(ready)) <= len(taken) <= records_max
        runs: list[tuple[object, list[Held]]] = []
        for number, delivery in enumerate(taken):
            lane = self.lane(delivery)
            if not runs or runs[-1][0] != lane:
                runs.append((lane, []))
            else:
                assert number % self.runs_max, "no run goes on in another request"
            runs[-1][1].append(next(held for held in self.lanes[lane] if held.delivery is delivery))
        lanes = [lane for lane, _ in runs]
        assert len(set(lanes)) == len(lanes), "of a lane one run at a time"
        assert set(lanes) <= ready
        if len(ready) <= records_max:
            assert set(lanes) == ready, "nobody goes on with his run while others have not begun"
        for lane, run in runs:
            assert run == self.lanes[lane][: len(run)], "a run is the beginning of its lane"
            assert all(held.state is State.WAITS for held in run)
            assert len(run) == 1 or not any(held.has_failed for held in run)
            for held in run:
                held.state = State.OUT
        self.runs += runs

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """One record after the other succeeds, is dead-lettered, or fails; behind a failure all are taken back."""
        lane, run = self.runs.pop(data.draw(st.integers(0, len(self.runs) - 1)))
        stopped = False
        for held in run:
            says = (
                "take back" if stopped else data.draw(st.sampled_from(["ok", "ok", "ok", "bury", "retry", "take back"]))
            )
            match says:
                case "ok":
                    self.finish(lane, held)
                case "bury":
                    held.state = State.IS_DEAD_LETTERED
                case "retry":
                    held.state, held.has_failed, stopped = State.BACKS_OFF, True, True
                    held.delivery.failures = FailureHistory(last=FAILED)
                case _:
                    self.put_back(held)
                    stopped = True

    @precondition(lambda self: self.any_of(State.IS_DEAD_LETTERED))
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        lane, held = data.draw(st.sampled_from(self.any_of(State.IS_DEAD_LETTERED)))
        self.finish(lane, held)

    @precondition(lambda self: self.any_of(State.BACKS_OFF))
    @rule(data=st.data())
    def back_off_ends(self, data: st.DataObject) -> None:
        _, held = data.draw(st.sampled_from(self.any_of(State.BACKS_OFF)))
        self.put_back(held)

    def any_of(self, state: State) -> list[tuple[object, Held]]:
        return [(lane, each) for lane, held in self.lanes.items() for each in held if each.state is state]

    def put_back(self, held: Held) -> None:
        held.state = State.WAITS
        self.pending.put_back(self.queue(held), held.delivery)

    def finish(self, lane: object, held: Held) -> None:
        before = self.lanes[lane][: self.lanes[lane].index(held)]
        if held.state is State.OUT:
            assert all(each.state is State.IS_DEAD_LETTERED for each in before), "of a lane only a prefix succeeds"
        self.pending.finish(self.queue(held), held.delivery)
        self.lanes[lane].remove(held)
        if not self.lanes[lane]:
            del self.lanes[lane]

    def queue(self, held: Held) -> PartitionQueue:
        return self.pending.queues[held.delivery.assignment]

    @invariant()
    def all_that_may_go_is_ready(self) -> None:
        expected = {held[0].delivery for held in self.lanes.values() if held[0].state is State.WAITS}
        ready = [delivery for queue in self.queues for delivery in queue.lanes.ready]
        assert len(ready) == len(set(ready))
        assert set(ready) == expected

    @invariant()
    def nothing_is_kept_of_what_is_finished(self) -> None:
        unfinished = {held.delivery for lane in self.lanes.values() for held in lane}
        assert {each for queue in self.queues for each in queue.tracker.unfinished.values()} == unfinished
        for queue in self.queues:
            kept = {lane[1] for lane in self.lanes if lane[0] is queue.assignment and not isinstance(lane[1], Delivery)}  # type: ignore[index]
            assert set(queue.lanes.tails) == kept


TestRuns = RunsMachine.TestCase
