"""Offset maps beside commits, and their use when the partition changes hands."""

import asyncio

import pytest

from mpsd.core.incarnation import Incarnation
from mpsd.core.metadata_text import Packing
from mpsd.core.offset_map import Ignored, MapSpace, encode, is_of_former_topic
from mpsd.core.offset_tracker import Run, Snapshot
from mpsd.core.record import TopicPartition
from mpsd.pipeline.offset_maps import OffsetMaps
from mpsd.ports import CommitPoint, Position
from tests.fakes.pipeline import piped
from tests.fakes.records import HERE, assigned

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


async def test_a_map_that_is_ignored_is_replaced_at_once_as_the_log_may_grow_to_fit_it() -> None:
    async with piped(commit_interval_s=1000.0) as at:
        at.source.committed[ORDERS] = committed(0, Run(5, 50))
        at.source.assign()
        await asyncio.sleep(0.01)
        point = at.source.committed[ORDERS]
        assert (point.next_offset, point.metadata.strip()) == (0, "")


FORMER, PRESENT, MIRRORED = (
    Incarnation(bytes([number]) * 16, cluster) for number, cluster in ((1, "here"), (2, "here"), (1, "there"))
)


@pytest.mark.parametrize(
    ("other", "why"), [(FORMER, Ignored.OTHER_TOPIC), (MIRRORED, Ignored.OTHER_CLUSTER), (PRESENT, None)]
)
@pytest.mark.parametrize("begin", [0, 10])
def test_a_map_of_another_incarnation_is_ignored_and_counted_wherever_it_leads(
    other: Incarnation, why: Ignored | None, begin: int
) -> None:
    """Also where the position is another one than the commit's, as that of a topic that was recreated is."""
    maps, assignment = OffsetMaps("billing", SPACE), assigned()
    assignment.identify(PRESENT)
    text = encode(Snapshot(10, (Run(12, 20),), ()), ORDERS, SPACE, other).text
    tracker = maps.restore(assignment, Position(CommitPoint(10, text), begin, 0, 100))
    assert (tracker.next_offset, tracker.restored) == (begin, [Run(12, 20)] if why is None and begin == 10 else [])
    assert dict(maps.ignored) == ({why.value: 1} if why else {})


def test_each_commit_says_of_which_topic_it_is_also_that_of_a_reset() -> None:
    maps, assignment = OffsetMaps("billing", SPACE), assigned()
    assignment.identify(PRESENT)
    tracker = maps.restore(assignment, Position(None, 0, 0, 100))
    for point in (maps.point(assignment, tracker), maps.reset_point(assignment, 50, "0123abcd")):
        assert is_of_former_topic(point.metadata, ORDERS, point.next_offset, FORMER)
        assert not is_of_former_topic(point.metadata, ORDERS, point.next_offset, PRESENT)
