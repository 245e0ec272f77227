"""What a commit says beside its offset, and what becomes of it when the partition changes hands."""

import asyncio

from mpsd.core.metadata_text import Packing
from mpsd.core.offset_map import MapSpace, encode
from mpsd.core.offset_tracker import Run, Snapshot
from mpsd.core.record import TopicPartition
from mpsd.pipeline.offset_maps import OffsetMaps
from mpsd.ports import CommitPoint, Position
from tests.fakes.pipeline import piped
from tests.fakes.records import HERE
from tests.virtual_time import in_virtual_time

SPACE = MapSpace(Packing.ASCII, 4_096)
ORDERS = TopicPartition("orders", 0)


def committed(base: int, *runs: Run) -> CommitPoint:
    return CommitPoint(base, encode(Snapshot(base, runs, ((base + 1, 3),)), ORDERS, SPACE).text)


def test_a_map_outlives_a_base_that_retention_has_taken() -> None:
    point = committed(10, Run(12, 20), Run(25, 40))
    tracker = OffsetMaps("billing", SPACE).restore(HERE, Position(point, 30, 30, 100))
    assert (tracker.next_offset, tracker.restored) == (30, [Run(30, 40)])


def test_a_map_means_nothing_where_its_base_lies_beyond_the_log() -> None:
    tracker = OffsetMaps("billing", SPACE).restore(HERE, Position(committed(50, Run(52, 60)), 0, 0, 30))
    assert (tracker.next_offset, tracker.restored) == (0, [])


@in_virtual_time
async def test_a_map_that_is_ignored_is_replaced_at_once_as_the_log_may_grow_to_fit_it() -> None:
    async with piped(commit_interval_s=1000.0) as at:
        at.source.committed[ORDERS] = committed(0, Run(5, 50))
        at.source.assign()
        await asyncio.sleep(0.01)
        point = at.source.committed[ORDERS]
        assert (point.next_offset, point.metadata.strip()) == (0, "")
