"""The PendingQueue's bounds, lanes and refills; the Writer is not started, so that nothing is delivered."""

import pytest

from mpsd.config import Ordering
from mpsd.core.record import RECORD_OVERHEAD_BYTES
from mpsd.pipeline.pending_queue import (
    NULL_KEY_LANE,
    PARTITION_LANE,
    PartitionQueue,
    PendingBudget,
    PendingQueue,
    lane_of,
)
from tests.fakes.records import Row, take
from tests.fakes.stage import Stage


def rows(*sizes: int, begin: int = 0) -> list[Row]:
    """Return records that count so many bytes each, overhead included."""
    return [
        Row(offset=begin + at, key=None, value=bytes(size - RECORD_OVERHEAD_BYTES)) for at, size in enumerate(sizes)
    ]


def finish(pending: PendingQueue, queue: PartitionQueue, *offsets: int) -> None:
    for offset in offsets:
        delivery = queue.tracker.unfinished[offset]
        take(queue.lanes, delivery)
        pending.finish(queue, delivery)


@pytest.mark.parametrize(
    ("ordering", "key", "lane"),
    [
        (Ordering(), b"a", b"a"),
        (Ordering(), b"", b""),
        (Ordering(), None, None),
        (Ordering(null_key="partition"), None, NULL_KEY_LANE),
        (Ordering(null_key="partition"), b"a", b"a"),
        (Ordering(by="partition"), b"a", PARTITION_LANE),
        (Ordering(by="partition"), None, PARTITION_LANE),
        (Ordering(by="none"), b"a", None),
        (Ordering(by="none", null_key="partition"), None, None),
    ],
)
def test_what_forms_a_lane(ordering: Ordering, key: bytes | None, lane: bytes | str | None) -> None:
    assert lane_of(ordering, key) == lane


def test_all_partitions_have_an_equal_share_of_the_daemons_bytes() -> None:
    budget = PendingBudget(1000)
    assert budget.share_bytes == 1000
    budget.count(3)
    assert budget.share_bytes == 333
    budget.count(-3)
    assert budget.share_bytes == 1000


async def test_records_are_taken_up_to_the_bound_and_the_rest_is_left() -> None:
    stage = Stage(records_max=3)
    queue = stage.open()
    assert stage.read(queue, *[b"a"] * 5) == 3
    assert not stage.pending.has_room(queue)
    assert stage.pending.statistics()["records"] == 3
    assert stage.pending.statistics()["lanes"] == 1


async def test_bytes_are_bounded_too() -> None:
    stage = Stage(bytes_max=2000)
    queue = stage.open()
    assert stage.pending.add(queue, rows(1000, 1000, 1000), 0.0) == 2
    assert queue.bytes == 2000
    assert not stage.pending.has_room(queue)


async def test_a_record_larger_than_the_bound_passes_alone() -> None:
    stage = Stage(bytes_max=2000)
    queue = stage.open()
    assert stage.pending.add(queue, rows(700, 9000), 0.0) == 1
    assert stage.pending.add(queue, rows(9000, begin=1), 0.0) == 0
    finish(stage.pending, queue, 0)
    assert stage.pending.add(queue, rows(9000, 700, begin=1), 0.0) == 1
    finish(stage.pending, queue, 1)
    assert stage.pending.add(queue, rows(700, begin=2), 0.0) == 1
    assert queue.bytes == 700


async def test_an_empty_partition_has_room_however_small_its_share_has_become() -> None:
    stage = Stage()
    queue = stage.open()
    stage.budget.count(1 << 50)
    assert stage.pending.bytes_max == 0
    assert stage.pending.has_room(queue)
    assert stage.pending.add(queue, rows(1000, 1000), 0.0) == 1
    assert not stage.pending.has_room(queue)
    finish(stage.pending, queue, 0)
    assert stage.room_calls == 1
    assert stage.pending.has_room(queue)


async def test_a_full_partition_is_read_again_once_a_quarter_of_it_has_gone() -> None:
    stage = Stage(records_max=8)
    queue = stage.feed(*[None] * 9)
    finish(stage.pending, queue, 0)
    assert stage.room_calls == 0
    finish(stage.pending, queue, 1)
    assert stage.room_calls == 1
    finish(stage.pending, queue, 2)
    assert stage.room_calls == 1


async def test_a_partition_that_was_not_full_tells_nobody_of_its_room() -> None:
    stage = Stage(records_max=8)
    queue = stage.feed(*[None] * 7)
    finish(stage.pending, queue, *range(7))
    assert stage.room_calls == 0


async def test_a_partition_that_leaves_gives_its_share_back_and_is_held() -> None:
    stage = Stage()
    queue, _ = stage.open(0), stage.open(1)
    share = stage.budget.share_bytes
    assert stage.pending.discard(queue.assignment) is queue
    assert queue.stopped_by
    assert stage.budget.share_bytes == 2 * share
    assert stage.pending.discard(queue.assignment) is None
    assert stage.budget.share_bytes == 2 * share


async def test_a_partition_shows_what_it_holds() -> None:
    stage = Stage()
    queue = stage.feed(b"a", partition=3)
    assert repr(queue) == "<PartitionQueue <Assignment orders/3 epoch=1> pending=1 stopped_by=''>"
