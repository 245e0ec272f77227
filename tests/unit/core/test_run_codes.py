"""Codes come back, the shortest is taken, and none is longer than was promised beforehand."""

from collections.abc import Iterable
from itertools import chain, combinations, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.byte_reader import ByteReader, Malformed, number
from mpsd.core.offset_tracker import Run, Spread
from mpsd.core.run_codes import FIXED_BYTES, Code, decode_runs, encode_runs, worst_bits


def finished(base: int, span: int, unfinished: Iterable[int]) -> tuple[Run, ...]:
    """Return the runs of a span in which these offsets, counted from the base, are not finished."""
    runs, at = [], base
    for offset in sorted(base + each for each in unfinished):
        if offset > at:
            runs.append(Run(at, offset))
        at = offset + 1
    return (*runs, Run(at, base + span)) if at < base + span else tuple(runs)


def back(base: int, code: bytes) -> tuple[Run, ...]:
    reader = ByteReader(code)
    runs = decode_runs(reader, base)
    reader.end()
    return tuple(runs)


@pytest.mark.parametrize(
    ("code", "base", "runs"),
    [
        (Code.NONE, 5, ()),
        (Code.RUNS, 5, (Run(5, 9),)),
        (Code.RUNS, 5, (Run(105, 205), Run(305, 405))),
        (Code.BITMAP, 5, (Run(6, 9), Run(10, 11))),
        (Code.BITMAP, 0, finished(0, 40, range(0, 40, 2))),
        (Code.GAPS, 0, finished(0, 1000, [0, 1, 500, 501])),
        (Code.GAPS, 1 << 40, finished(1 << 40, 3000, range(0, 3000, 30))),
    ],
)
def test_the_shortest_code_is_taken_and_comes_back(code: Code, base: int, runs: tuple[Run, ...]) -> None:
    data = encode_runs(base, runs)
    assert data[0] == code
    assert back(base, data) == runs


spans = st.integers(1, 400).flatmap(lambda span: st.tuples(st.just(span), st.sets(st.integers(0, span - 1))))


@given(st.integers(0, 1 << 50), spans)
def test_any_runs_come_back(base: int, spread: tuple[int, set[int]]) -> None:
    runs = finished(base, *spread)
    assert back(base, encode_runs(base, runs)) == runs


@given(st.lists(st.tuples(st.integers(1, 1 << 40), st.integers(1, 1 << 40)), min_size=1, max_size=20))
def test_runs_far_apart_cost_what_their_lengths_cost(lengths: list[tuple[int, int]]) -> None:
    runs, at = [], 0
    for before, length in lengths:
        runs.append(Run(at + before, at + before + length))
        at = runs[-1].stop
    data = encode_runs(0, runs)
    assert back(0, data) == tuple(runs)
    assert len(data) <= FIXED_BYTES + sum(len(number(one)) + len(number(other)) for one, other in lengths)


def test_the_bound_never_shrinks_when_more_is_read() -> None:
    for span in range(1, 200):
        for unfinished in range(span + 1):
            now = worst_bits(Spread(span, unfinished))
            assert now <= worst_bits(Spread(span + 1, unfinished)), (span, unfinished)
            assert now <= worst_bits(Spread(span + 1, unfinished + 1)), (span, unfinished)


def within(runs: tuple[Run, ...], base: int, bound: int) -> bool:
    return len(encode_runs(base, runs)) <= FIXED_BYTES + bound / 8


def test_however_few_offsets_settle_the_code_stays_within_the_bound() -> None:
    """Every way in which up to nine offsets can settle, from every state."""
    for span in range(1, 10):
        every = range(span)
        for unfinished in chain.from_iterable(combinations(every, count) for count in range(span + 1)):
            bound = worst_bits(Spread(span, len(unfinished)))
            for left in chain.from_iterable(combinations(unfinished, count) for count in range(len(unfinished) + 1)):
                assert within(finished(0, span, left), 0, bound), (span, unfinished, left)


@given(st.integers(1, 5_000), st.floats(0, 1), st.integers())
def test_however_many_settle_the_code_stays_within_the_bound(span: int, part: float, seed: int) -> None:
    random = Random(seed)
    unfinished = random.sample(range(span), int(part * span))
    bound = worst_bits(Spread(span, len(unfinished)))
    while unfinished:
        base = min(unfinished)
        now = worst_bits(Spread(span - base, len(unfinished)))
        assert now <= bound
        runs = finished(base, span - base, [each - base for each in unfinished])
        assert within(runs, base, now)
        bound, unfinished = now, random.sample(unfinished, len(unfinished) * random.randrange(10) // 10)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x04",  # an unknown code
        bytes([Code.RUNS, 1, 1, 0]),  # a run of nothing
        bytes([Code.RUNS, 2, 1, 1, 0, 1]),  # runs that touch
        bytes([Code.RUNS, 2, 1, 1]),
        bytes([Code.BITMAP, 0]),
        bytes([Code.BITMAP, 3, 0b011]),  # ends with an unfinished one
        bytes([Code.BITMAP, 3, 0b1100]),  # is longer than its span
        bytes([Code.BITMAP, 30, 1]),
        bytes([Code.GAPS, 5, 0, 0]),  # nothing unfinished
        bytes([Code.GAPS, 5, 5, 0, 0]),  # nothing finished
        bytes([Code.GAPS, 5, 1, 64, 0, 0]),  # no parameter
        bytes([Code.GAPS, 3, 1, 0, 0b1110_0000]),  # beyond the span
    ],
)
def test_what_cannot_be_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode_runs(ByteReader(data), 5)


@given(st.binary(max_size=40), st.sampled_from(Code))
def test_any_bytes_are_runs_or_refused(data: bytes, code: Code) -> None:
    try:
        runs = decode_runs(ByteReader(bytes([code]) + data), 7)
    except Malformed:
        return
    assert all(run.start < run.stop for run in runs)
    assert all(one.stop < other.start for one, other in pairwise(runs))
    assert not runs or runs[0].start >= 7
