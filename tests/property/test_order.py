"""Lanes, PendingQueue and OrderIterator against a list per key."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mpsd.config import Ordering
from mpsd.core.delivery import Delivery
from mpsd.core.lanes import Lanes
from mpsd.core.offset_tracker import OffsetTracker
from mpsd.core.record import RECORD_OVERHEAD_BYTES
from mpsd.pipeline.order_iterator import OrderIterator
from mpsd.pipeline.pending_queue import PartitionQueue, PendingBudget, PendingQueue, lane_of
from tests.fakes.records import Row, assigned

KEYS = st.sampled_from([None, b"", b"a", b"b", b"c"])
SIZES = st.sampled_from([0, 0, 0, 1, RECORD_OVERHEAD_BYTES, 20 * RECORD_OVERHEAD_BYTES])
PARTITIONS = 3
PARTITION = st.integers(0, PARTITIONS - 1)
RECORDS_MAX = 8
BYTES_MAX = RECORD_OVERHEAD_BYTES * 6
Out = tuple[PartitionQueue, Delivery]


class OrderMachine(RuleBasedStateMachine):
    """Records are read, taken, finished and put back in any order; partitions are blocked and let go."""

    @initialize(by=st.sampled_from(["key", "partition", "none"]), null_key=st.sampled_from(["none", "partition"]))
    def begin(self, by: str, null_key: str) -> None:
        self.ordering = Ordering(by=by, null_key=null_key)  # type: ignore[arg-type]  # drawn from just these
        self.order = OrderIterator()
        self.room = 0
        self.pending = PendingQueue(
            self.ordering, RECORDS_MAX, BYTES_MAX, PendingBudget(1 << 40), self.order.ready, self.on_room
        )
        self.queues = [PartitionQueue(assigned(partition), OffsetTracker(0), -1, 0) for partition in range(PARTITIONS)]
        for queue in self.queues:
            self.pending.open(queue)
        self.lanes: list[dict[object, list[int]]] = [{} for _ in self.queues]
        self.sizes: list[dict[int, int]] = [{} for _ in self.queues]
        self.out: list[Out] = []
        self.put_back_last: list[list[int]] = [[] for _ in self.queues]

    def on_room(self) -> None:
        self.room += 1

    @rule(partition=PARTITION, records=st.lists(st.tuples(KEYS, SIZES), max_size=5))
    def read(self, partition: int, records: list[tuple[bytes | None, int]]) -> None:
        queue, lanes, sizes = self.queues[partition], self.lanes[partition], self.sizes[partition]
        had_room = self.pending.has_room(queue)
        begin = queue.tracker.end
        rows = [
            Row(partition=partition, offset=begin + at, key=key, value=bytes(size))
            for at, (key, size) in enumerate(records)
        ]
        taken = self.pending.add(queue, rows, 0.0)
        assert taken or not rows or not had_room or sizes
        for row in rows[:taken]:
            lane = lane_of(self.ordering, row.key)
            lanes.setdefault(("free", row.offset) if lane is None else lane, []).append(row.offset)
            sizes[row.offset] = queue.tracker.unfinished[row.offset].size_bytes
        if taken < len(rows):
            assert len(sizes) == RECORDS_MAX or sum(sizes.values()) + self._bytes(rows[taken]) > BYTES_MAX
            assert queue.wants_refill

    @staticmethod
    def _bytes(row: Row) -> int:
        return RECORD_OVERHEAD_BYTES + len(row.value or b"") + len(row.key or b"")

    def ready(self, partition: int) -> set[int]:
        """Heads of lanes that are not out."""
        taken = {each.record.offset for queue, each in self.out if queue is self.queues[partition]}
        return {lane[0] for lane in self.lanes[partition].values()} - taken

    @rule(records_max=st.integers(0, 12))
    def take(self, records_max: int) -> None:
        free = {at: self.ready(at) for at, queue in enumerate(self.queues) if not queue.stopped_by}
        taken = self.order.take(records_max, 1 << 40)
        assert len(taken) == min(records_max, sum(map(len, free.values())))
        shares = Counter(queue.assignment.tp.partition for queue, _ in taken)
        for partition, heads in free.items():
            offsets = [each.record.offset for queue, each in taken if queue is self.queues[partition]]
            assert set(offsets) <= heads
            assert len(set(offsets)) == len(offsets)
            last = self.put_back_last[partition]
            for offset in offsets:
                assert not last or last.pop() == offset, "what was put back goes first"
            if len(offsets) < len(heads):
                assert all(shares[partition] >= other - 1 for other in shares.values()), "partitions take turns"
        self.out.extend(taken)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        queue, done = self._drawn(data)
        partition, offset = queue.assignment.tp.partition, done.record.offset
        wanted, room = queue.wants_refill, self.room
        self.pending.finish(queue, done)
        lanes = self.lanes[partition]
        (lane,) = [lane for lane, offsets in lanes.items() if offsets[0] == offset]
        del lanes[lane][0]
        if not lanes[lane]:
            del lanes[lane]
        del self.sizes[partition][offset]
        if wanted and not self.sizes[partition]:
            assert self.room == room + 1

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        queue, again = self._drawn(data)
        self.pending.put_back(queue, again)
        self.put_back_last[queue.assignment.tp.partition].append(again.record.offset)

    def _drawn(self, data: st.DataObject) -> Out:
        return self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))

    @rule(partition=PARTITION)
    def hold(self, partition: int) -> None:
        self.queues[partition].stopped_by = "draining"

    @rule(partition=PARTITION)
    def release(self, partition: int) -> None:
        self.queues[partition].stopped_by = ""
        self.order.ready(self.queues[partition])

    @invariant()
    def bounds_hold(self) -> None:
        for queue, sizes in zip(self.queues, self.sizes, strict=True):
            assert len(sizes) == len(queue.tracker.unfinished) <= RECORDS_MAX
            assert queue.bytes == sum(sizes.values())
            assert queue.bytes <= BYTES_MAX or len(sizes) == 1

    @invariant()
    def an_empty_lane_costs_nothing(self) -> None:
        for queue, lanes in zip(self.queues, self.lanes, strict=True):
            kept = {lane for lane in lanes if not isinstance(lane, tuple)}
            assert set(queue.lanes.tails) == kept


TestOrder = OrderMachine.TestCase


def test_a_million_keys_leave_nothing_behind() -> None:
    lanes, at_once, row, here = Lanes(), 1000, Row(), assigned()
    for begin in range(0, 1_000_000, at_once):
        for offset in range(begin, begin + at_once):
            lanes.add(Delivery(row, here, b"%d" % offset, 1))
        while lanes.ready:
            lanes.settled(lanes.take())
    assert len(lanes) == 0
