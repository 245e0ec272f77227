"""Records that follow a dead letter of their key without a delivery."""

from mpsd.core.delivery import Replayed, ReplayedDelivery
from mpsd.core.offset_tracker import OffsetTracker
from mpsd.pipeline.pending_queue import PartitionQueue
from mpsd.pipeline.writer import behind_blocked
from tests.fakes.records import Row, assigned, delivery


def test_all_of_the_lane_but_what_is_to_let_the_key_go() -> None:
    assignment = assigned()
    queue = PartitionQueue(assignment, OffsetTracker(0), -1, 0)
    first, second, last = (delivery(offset, b"k", assignment) for offset in (0, 1, 2))
    releasing = ReplayedDelivery(
        Row(key=b"k"), assignment, b"k", 1, 0.0,
        Replayed(replay="r1", replays=0, dead_letter_offset=5, on_finished=lambda _: None, releases=True),
    )  # fmt: skip
    for each in (first, second, releasing, last):
        queue.lanes.add(each)
    head = queue.lanes.take()
    assert behind_blocked(queue, head) == [second, last]
    queue.lanes.settled(second)
    queue.lanes.settled(last)
    queue.lanes.settled(head)
    assert queue.lanes.take() is releasing
    queue.lanes.settled(releasing)
    assert not queue.lanes.tails
