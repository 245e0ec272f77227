"""Lanes and the seats of their deliveries, several of a lane at a time, against a list per key."""

from enum import Enum

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mpsd.config import Ordering
from mpsd.core.delivery import Delivery, FailureHistory, Seat
from mpsd.core.lanes import Event, move
from mpsd.core.lost import LostDeliveries
from mpsd.core.offset_tracker import OffsetTracker
from mpsd.pipeline.order_iterator import OrderIterator
from mpsd.pipeline.pending_queue import PartitionQueue, PendingBudget, PendingQueue
from mpsd.pipeline.waiting import Waiting
from tests.fakes.records import FAILED, LOST, Row, assigned

KEYS = st.sampled_from([None, b"a", b"a", b"b", b"c"])
PARTITIONS = 2
PARTITION = st.integers(0, PARTITIONS - 1)


class State(Enum):
    WAITS = "waits"
    OUT = "out"
    BACKS_OFF = "backs off"
    IS_LOST = "is lost"
    IS_SUSPECT = "is a suspect"
    IS_PAUSED = "is paused"
    IS_DEAD_LETTERED = "is being dead-lettered"


SEATS = {
    State.OUT: Seat.IN_FLIGHT,
    State.BACKS_OFF: Seat.BACK_OFF,
    State.IS_LOST: Seat.LOST,
    State.IS_SUSPECT: Seat.SUSPECT,
    State.IS_PAUSED: Seat.PAUSED,
    State.IS_DEAD_LETTERED: Seat.DEAD_LETTERING,
}
IN_NO_HANDS = (State.WAITS, State.BACKS_OFF, State.IS_SUSPECT, State.IS_PAUSED)


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
        self.waiting, self.lost = Waiting(), LostDeliveries(1.0)
        self.now_s = 0.0
        self.paused_keys: frozenset[bytes] = frozenset()
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
        ready = {
            lane for lane, held in self.lanes.items() if held[0].state is State.WAITS and not self.is_paused(held[0])
        }
        taken = [delivery for _, delivery in self.order.take(records_max, 1 << 40)]
        assert min(records_max, len(ready)) <= len(taken) <= records_max
        for held in [held[0] for held in self.lanes.values() if held[0].delivery.seat is Seat.PAUSED]:
            assert self.is_paused(held)
            held.state = State.IS_PAUSED
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
            is_waiting = [held[0] for held in self.lanes.values() if held[0].state is State.WAITS]
            assert all(held.delivery in taken or len(ready) == records_max for held in is_waiting)
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
            self.waiting.suspects.ended(held.delivery, None)
            says = (
                "take back"
                if stopped
                else data.draw(st.sampled_from(["ok", "ok", "ok", "dead-letter", "retry", "lose", "take back"]))
            )
            match says:
                case "ok":
                    self.finish(lane, held)
                case "dead-letter":
                    self.dead_letter(held, Event.DEAD_LETTER)
                case "retry":
                    held.state, held.has_failed, stopped = State.BACKS_OFF, True, True
                    held.delivery.failures = FailureHistory(last=FAILED)
                    self.waiting.back_off(held.delivery, 0.0)
                case "lose":
                    held.state, held.has_failed, stopped = State.IS_LOST, True, True
                    held.delivery.failures = FailureHistory(last=LOST)
                    self.lost.add(held.delivery, self.now_s)
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
        assert self.waiting.take(lambda each: each is held.delivery) == [held.delivery]
        self.put_back(held)

    @precondition(lambda self: self.any_of(State.IS_LOST))
    @rule(data=st.data())
    def lost_window_ends(self, data: st.DataObject) -> None:
        self.now_s += 1.0
        judged = self.lost.judge(self.now_s)
        held_of = {held.delivery: held for _, held in self.any_of(State.IS_LOST)}
        assert {*judged.charged, *judged.suspects} == set(held_of)
        for held in held_of.values():
            match data.draw(st.sampled_from(["suspect", "back off", "at once"])):
                case "suspect":
                    held.state = State.IS_SUSPECT
                    self.waiting.suspects.lost(held.delivery)
                case "back off":
                    held.state = State.BACKS_OFF
                    self.waiting.back_off(held.delivery, 0.0)
                case _:
                    self.put_back(held)

    @rule(records_max=st.integers(1, 3))
    def suspects_go_out(self, records_max: int) -> None:
        may_go = self.any_of(State.IS_SUSPECT) if not self.waiting.suspects.out else []
        group = self.waiting.suspects.take(records_max, 1 << 40, lambda _: False, lambda _: True)
        assert bool(group) == bool(may_go)
        assert len(group) <= records_max
        for delivery in group:
            lane, held = next(each for each in may_go if each[1].delivery is delivery)
            held.state = State.OUT
            self.runs.append((lane, [held]))

    @rule(keys=st.frozensets(st.sampled_from([b"a", b"b"])))
    def pause(self, keys: frozenset[bytes]) -> None:
        self.paused_keys = keys
        for queue in self.queues:
            queue.paused_keys = keys
            self.pending.resume_heads(queue, keys)
        for _, held in self.any_of(State.IS_PAUSED):
            if not self.is_paused(held):
                held.state = State.WAITS

    @precondition(lambda self: any(self.any_of(state) for state in IN_NO_HANDS))
    @rule(data=st.data())
    def skip(self, data: st.DataObject) -> None:
        found = [each for state in IN_NO_HANDS for each in self.any_of(state)]
        lane, held = data.draw(st.sampled_from(found))
        delivery = held.delivery
        if delivery.seat in {Seat.BACK_OFF, Seat.SUSPECT}:
            self.waiting.remove(delivery)
        else:
            if delivery.seat is Seat.WAITING:
                self.lanes[lane].remove(held)
                self.lanes[delivery.assignment, delivery] = [held]
            self.pending.withdraw(self.queue(held), delivery)
        self.dead_letter(held, Event.SKIP)

    def dead_letter(self, held: Held, event: Event) -> None:
        held.state = State.IS_DEAD_LETTERED
        move(held.delivery, event)

    def is_paused(self, held: Held) -> bool:
        return held.delivery.record.key in self.paused_keys

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
    def each_has_the_seat_that_the_model_says(self) -> None:
        for lane in self.lanes.values():
            for number, held in enumerate(lane):
                first = Seat.WAITING if number else Seat.READY
                assert held.delivery.seat is SEATS.get(held.state, first), held.delivery
                assert not held.delivery.is_behind or (number and held.state is not State.WAITS)

    @invariant()
    def every_container_is_an_index_of_the_seat(self) -> None:
        paused = [delivery for queue in self.queues for delivery in queue.lanes.paused]
        assert len(paused) == len(set(paused))
        assert set(paused) == {held.delivery for _, held in self.any_of(State.IS_PAUSED)}
        assert set(self.waiting.suspects) == {held.delivery for _, held in self.any_of(State.IS_SUSPECT)}
        assert self.waiting.backing_off == len(self.any_of(State.BACKS_OFF))
        assert len(self.lost) == len(self.any_of(State.IS_LOST))

    @invariant()
    def nothing_is_kept_of_what_is_finished(self) -> None:
        unfinished = {held.delivery for lane in self.lanes.values() for held in lane}
        assert {each for queue in self.queues for each in queue.tracker.unfinished.values()} == unfinished
        for queue in self.queues:
            kept = {lane[1] for lane in self.lanes if lane[0] is queue.assignment and not isinstance(lane[1], Delivery)}  # type: ignore[index]
            assert set(queue.lanes.tails) == kept


TestRuns = RunsMachine.TestCase
