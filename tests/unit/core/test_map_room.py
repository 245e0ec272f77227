"""The bound of records read: never so many that some offset map of them would not fit."""

from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.map_room import has_map_room, mappable
from mpsd.core.offset_map import NO_BOUND
from mpsd.core.offset_tracker import OffsetTracker, Run
from mpsd.core.run_codes import worst_bits
from tests.fakes.records import Row, delivery


def rows(*offsets: int) -> list[Row]:
    return [Row(offset=offset) for offset in offsets]


@given(gaps=st.lists(st.integers(1, 5), min_size=1, max_size=40), bits_max=st.integers(0, 400))
def test_as_many_as_fit_and_no_more(gaps: list[int], bits_max: int) -> None:
    offsets = [sum(gaps[: number + 1]) for number in range(len(gaps))]
    tracker = OffsetTracker(0)
    tracker.read(0, delivery(0))
    count = mappable(tracker, rows(*offsets), bits_max)
    worst = [worst_bits(tracker.spread(offsets[0], offsets[n] + 1, n + 1)) for n in range(len(offsets))]
    assert all(bits <= bits_max for bits in worst[:count])
    assert count == len(offsets) or worst[count] > bits_max or count == sum(bits <= bits_max for bits in worst)


def test_what_was_finished_before_spreads_no_further() -> None:
    tracker = OffsetTracker(0, [Run(2, 10)])
    assert mappable(tracker, rows(0, 1, 2, 9, 10, 11), 0) == 4
    assert has_map_room(tracker, 0)


def test_room_for_the_next() -> None:
    tracker = OffsetTracker(0)
    assert has_map_room(tracker, NO_BOUND)
    assert not has_map_room(tracker, 0)
    assert mappable(tracker, rows(0, 1), NO_BOUND) == 2
