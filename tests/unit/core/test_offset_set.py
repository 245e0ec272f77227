from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.byte_reader import number
from mpsd.core.offset_set import OffsetSet, parse_offsets
from mpsd.core.offset_tracker import Run
from mpsd.core.run_codes import Code


@given(st.integers(0, 20), st.lists(st.integers(0, 60)), st.integers(0, 70))
def test_it_is_a_set_of_offsets_from_a_base_on(base: int, offsets: list[int], clipped: int) -> None:
    made, model = OffsetSet(base), {offset for offset in offsets if offset >= base}
    for offset in offsets:
        made.add(offset)
    assert {offset for offset in range(80) if offset in made} == model
    assert all(one.stop < other.start for one, other in zip(made.runs, made.runs[1:], strict=False))
    made.clip(clipped)
    assert made.base == max(base, clipped)
    assert {offset for offset in range(80) if offset in made} == {offset for offset in model if offset >= made.base}
    again = parse_offsets(made.base, made.text())
    assert again is not None
    assert again.runs == made.runs


def test_it_says_how_much_it_holds() -> None:
    assert repr(OffsetSet(3, [Run(1, 2), Run(2, 5)])) == "<OffsetSet base=3 runs=1>"
    assert OffsetSet(3, [Run(1, 5)]).runs == [Run(3, 5)]


@pytest.mark.parametrize("text", ["?", "AQ==", b64encode(b"\x09").decode(), b64encode(b"\x00\x00").decode()])
def test_what_it_did_not_write_is_none(text: str) -> None:
    assert parse_offsets(0, text) is None


def test_offsets_that_cannot_be_are_none() -> None:
    huge = bytes([Code.RUNS]) + number(1) + number((1 << 63) - 2) + number(5)
    assert parse_offsets(0, b64encode(huge).decode()) is None


def test_what_is_in_either_of_two_is_in_both_joined() -> None:
    one, other = OffsetSet(2, [Run(3, 5), Run(8, 9), Run(20, 22)]), OffsetSet(4, [Run(4, 8), Run(12, 13)])
    assert one.joined(other).runs == other.joined(one).runs == [Run(4, 9), Run(12, 13), Run(20, 22)]
    assert one.joined(other).base == 4
    assert OffsetSet(0, [Run(0, 9)]).joined(OffsetSet(0, [Run(2, 3)])).runs == [Run(0, 9)]


@pytest.mark.parametrize(
    ("start", "end", "count"), [(0, 30, 5), (4, 30, 4), (4, 21, 3), (5, 8, 0), (8, 9, 1), (21, 21, 0), (30, 40, 0)]
)
def test_what_is_within_bounds_is_counted(start: int, end: int, count: int) -> None:
    assert OffsetSet(0, [Run(3, 5), Run(8, 9), Run(20, 22)]).count(start, end) == count


def test_of_two_topics_only_its_own_count() -> None:
    one = OffsetSet(2, [Run(3, 5)], "a")
    assert one.joined(OffsetSet(0, [Run(8, 9)], "b")).runs == [Run(3, 5)]
    assert one.joined(OffsetSet(0, [Run(8, 9)], "a")).runs == [Run(3, 5), Run(8, 9)]
    assert one.joined(OffsetSet(0, [Run(8, 9)])).topic_id == OffsetSet().joined(one).topic_id == "a"


def test_an_offset_between_two_runs_joins_them() -> None:
    made = OffsetSet(0, [Run(3, 5), Run(6, 9)])
    made.add(5)
    assert made.runs == [Run(3, 9)]


def test_runs_grow_at_either_end_and_new_ones_keep_their_order() -> None:
    made = OffsetSet(2)
    for offset in (1, 5, 5, 6, 4, 9, 2):
        made.add(offset)
    assert made.runs == [Run(2, 3), Run(4, 7), Run(9, 10)]
    made.clip(5)
    assert (made.base, made.runs) == (5, [Run(5, 7), Run(9, 10)])
    made.clip(3)
    made.clip(8)
    assert made.runs == [Run(9, 10)]
