from mpsd.core.offset_tracker import OffsetTracker
from mpsd.core.states import DeliveryState
from mpsd.pipeline.order_iterator import OrderIterator
from mpsd.pipeline.pending_queue import PartitionQueue
from tests.fakes.records import assigned, delivery


def partition(number: int, records: int, lane: bytes | None = None) -> PartitionQueue:
    """One with so many records, free unless a lane is given."""
    queue = PartitionQueue(assigned(number), OffsetTracker(0), -1, 0)
    for offset in range(records):
        queue.lanes.add(delivery(offset, lane, queue.assignment))
    return queue


def ordered(*queues: PartitionQueue) -> OrderIterator:
    order = OrderIterator()
    for queue in queues:
        order.ready(queue)
    return order


def taken(order: OrderIterator, records_max: int = 100, bytes_max: int = 1 << 40) -> list[str]:
    return [str(each).removeprefix("orders/") for _, each in order.take(records_max, bytes_max)]


def test_partitions_take_turns_one_record_each() -> None:
    assert taken(ordered(partition(0, 3), partition(1, 2))) == ["0@0", "1@0", "0@1", "1@1", "0@2"]


def test_the_round_goes_on_where_it_was_broken_off() -> None:
    order = ordered(partition(0, 3), partition(1, 3))
    assert [taken(order, 1) for _ in range(4)] == [["0@0"], ["1@0"], ["0@1"], ["1@1"]]


def test_a_partition_that_comes_later_does_not_wait_for_the_backlog_of_another() -> None:
    order = ordered(partition(0, 100))
    taken(order, 10)
    order.ready(partition(1, 1))
    assert taken(order, 2) == ["0@10", "1@0"]


def test_of_a_lane_only_the_head_is_given() -> None:
    assert taken(ordered(partition(0, 3, b"a"))) == ["0@0"]


def test_a_partition_is_in_the_round_once() -> None:
    queue = partition(0, 2)
    order = ordered(queue, queue)
    assert order.statistics() == {"partitions_in_turn": 1, "taken": 0}
    assert taken(order) == ["0@0", "0@1"]
    assert not order


def test_one_that_is_held_does_not_enter_and_one_that_came_to_be_held_leaves() -> None:
    held, later = partition(0, 1), partition(1, 1)
    held.stop(DeliveryState.DRAINING)
    order = ordered(held, later)
    later.stop(DeliveryState.DRAINING)
    assert taken(order) == []
    assert not order
    held.stopped_by = later.stopped_by = ""
    order.ready(held)
    order.ready(later)
    assert taken(order) == ["0@0", "1@0"]


def test_one_that_was_held_for_a_moment_keeps_its_turn() -> None:
    queue = partition(0, 1)
    order = ordered(queue)
    queue.stopped_by = "draining"
    queue.stopped_by = ""
    order.ready(queue)
    assert taken(order) == ["0@0"]


def test_bytes_are_passed_by_one_record_at_most() -> None:
    order = ordered(partition(0, 5))
    assert taken(order, 100, 3) == ["0@0", "0@1", "0@2"]
    assert taken(order, 100, 0) == []


def test_nothing_ready_is_nothing_taken() -> None:
    assert taken(ordered(partition(0, 0))) == []
    assert taken(OrderIterator()) == []
    assert OrderIterator().take(0, 1) == []
