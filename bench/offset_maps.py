"""The capacity of an offset map and its cost: `python -m bench offset-maps`.

Patterns as traffic makes them behind a record that is stuck; each grows until its partition would not be read on.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from random import Random
from typing import TypeVar

from mpsd.core.metadata_text import Packing
from mpsd.core.offset_map import MapSpace, OffsetMap, decode, encode
from mpsd.core.offset_tracker import Run, Snapshot, Spread
from mpsd.core.record import TopicPartition
from mpsd.core.run_codes import worst_bits

UNITS_MAX = 4096
SPAN_MAX = 10_000_000
IN_FLIGHT = 64
HERE = TopicPartition("orders", 0)
Pattern = Callable[[Random], Iterator[int]]
"""A function that yields the unfinished offsets, ascending, without end."""
T = TypeVar("T")


def _keys(share: float) -> Pattern:
    """Return a pattern in which a part of the records belongs to stuck keys."""

    def unfinished(random: Random) -> Iterator[int]:
        yield 0
        for offset in count(1):
            if random.random() < share:
                yield offset

    return unfinished


def _one(_: Random) -> Iterator[int]:
    yield 0


def _bursts(random: Random) -> Iterator[int]:
    """Yield the offsets of a stuck key that comes in bursts of ten, one burst each thousand records."""
    for start in count(0, 1000):
        first = start + random.randrange(900) if start else 0
        yield from range(first, first + 10)


PATTERNS: dict[str, Pattern] = {
    "one record": _one,
    "0.1 % of the records": _keys(0.001),
    "1 % of the records": _keys(0.01),
    "10 % of the records": _keys(0.1),
    "every second record": _keys(0.5),
    "bursts of 10 in 1,000": _bursts,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """One pattern in one packing.

    Attributes:
        stuck: name of the pattern.
        packing: name of the packing.
        offsets: number of offsets from the stuck record to the last one that may be read, at most 10 million here.
        units: length of the map.
        encode_ms: time in ms to write the map.
        decode_ms: time in ms to read the map.
    """

    stuck: str
    packing: str
    offsets: int
    unfinished: int
    units: int
    encode_ms: float
    decode_ms: float


def fits(stuck: str, packing: Packing) -> Fits:
    space = MapSpace(packing, UNITS_MAX)
    unfinished: list[int] = []
    for offset in PATTERNS[stuck](Random(1)):
        spread = Spread(offset + 1 + IN_FLIGHT, len(unfinished) + 1 + IN_FLIGHT)
        if offset >= SPAN_MAX or worst_bits(spread) > space.worst_bits_max:
            break
        unfinished.append(offset)
    span = _span(unfinished, space)
    ends = [*unfinished, span]
    runs = tuple(Run(before + 1, after) for before, after in pairwise(ends) if after > before + 1)
    snapshot = Snapshot(0, runs, ())
    encoded, encode_ms = _timed(lambda: encode(snapshot, HERE, space))
    found, decode_ms = _timed(lambda: decode(encoded.text, HERE, 0, 0, SPAN_MAX * 2))
    assert isinstance(found, OffsetMap)
    assert found.runs == runs
    assert encoded.offsets_left_out == 0
    return Fits(
        stuck=stuck,
        packing=packing.value,
        offsets=span,
        unfinished=len(unfinished),
        units=len(encoded.text),
        encode_ms=encode_ms,
        decode_ms=decode_ms,
    )


def _span(unfinished: list[int], space: MapSpace) -> int:
    """Return the number of finished offsets that fit behind the last unfinished one."""
    if len(unfinished) > 1:
        return unfinished[-1] + 1
    reach = SPAN_MAX
    while worst_bits(Spread(reach, len(unfinished) + IN_FLIGHT)) > space.worst_bits_max:
        reach //= 2
    return reach


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    """Return the result of a call, and the least time of three calls."""
    times_s = []
    for _ in range(3):
        began_s = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - began_s)
    return call(), 1000 * min(times_s)


def offset_maps() -> list[Fits]:
    """Measure every pattern in every packing."""
    return [fits(stuck, packing) for stuck in PATTERNS for packing in Packing]
