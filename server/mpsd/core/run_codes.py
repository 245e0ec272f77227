"""Finished runs beyond a base offset as bytes: three codes, of which the shortest is taken for each map.

    base 5, finished 6-8 and 10        unfinished 5 and 9; span 6: the offsets from 5 to 10

    runs     pairs of lengths, unfinished and finished: 1 3, 1 1                   long runs, few of them
    bitmap   a bit an offset, 1 if it is finished: 0 1 1 1 0 1                     no pattern at all
    gaps     how many are finished before each unfinished one: 0, 3; Rice code     few unfinished ones, anywhere

The gaps are why there is a bound that is known beforehand, `worst_bits`: their code does not grow when an offset
settles.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum

from mpsd.core.byte_reader import ByteReader, Malformed, number, rice
from mpsd.core.offset_tracker import Run, Spread

FIXED_BYTES = 21
"""Most bytes of a code beside the bits that `worst_bits` counts: its tag, three numbers, the rounding to bytes."""


class Code(IntEnum):
    """The first byte, which names the code of the runs."""

    NONE = 0
    RUNS = 1
    BITMAP = 2
    GAPS = 3


def worst_bits(spread: Spread) -> int:
    """Return the bits that the runs need at most, however the unfinished offsets settle.

    It never shrinks when one of the numbers grows. An offset that settles makes `unfinished` less, and `span` too if it is
    the base, so what fits now goes on fitting until more is read.
    """
    return min(spread.span, _gap_bits(spread)) if spread.unfinished else 0


def rice_parameter(spread: Spread) -> int:
    """Return the k with the shortest gaps; from k to k + 1 their bits change by unfinished - ceil((span >> k) / 2)."""
    twice = 2 * spread.unfinished
    k = max(0, spread.span.bit_length() - twice.bit_length())
    return k + (spread.span >> k > twice)


def _gap_bits(spread: Spread) -> int:
    """Each takes k bits and a stop bit, and the quotients of all of them are span >> k at most."""
    k = rice_parameter(spread)
    return spread.unfinished * (k + 1) + (spread.span >> k)


def spread_of(base: int, runs: Sequence[Run]) -> Spread:
    span = runs[-1].stop - base
    return Spread(span, span - sum(run.stop - run.start for run in runs))


def encode_runs(base: int, runs: Sequence[Run]) -> bytes:
    """Return the shortest code of the runs, which ascend from the base and do not touch each other."""
    if not runs:
        return bytes([Code.NONE])
    spread = spread_of(base, runs)
    bitmap_bytes = -(-spread.span // 8)
    gap_bytes = -(-_gap_bits(spread) // 8) if spread.unfinished else bitmap_bytes
    shortest = min(bitmap_bytes, gap_bytes)
    if len(runs) == 1 or 2 * len(runs) <= shortest:  # a pair takes two bytes or more
        pairs = b"".join(map(number, _lengths(base, runs)))
        if len(runs) == 1 or len(pairs) <= shortest:
            return bytes([Code.RUNS]) + number(len(runs)) + pairs
    if bitmap_bytes <= gap_bytes:
        return bytes([Code.BITMAP]) + number(spread.span) + _bitmap(base, runs, bitmap_bytes)
    k = rice_parameter(spread)
    head = bytes([Code.GAPS]) + number(spread.span) + number(spread.unfinished) + bytes([k])
    return head + rice(_gaps(base, runs), k)


def decode_runs(reader: ByteReader, base: int) -> list[Run]:
    """Return the runs that `encode_runs` wrote.

    Raises:
        Malformed: it did not write this.
    """
    match reader.byte():
        case Code.NONE:
            return []
        case Code.RUNS:
            return _from_lengths(reader, base)
        case Code.BITMAP:
            return _from_bitmap(reader, base)
        case Code.GAPS:
            return _from_gaps(reader, base)
        case _:
            raise Malformed("an unknown code")


def _lengths(base: int, runs: Sequence[Run]) -> Iterator[int]:
    at = base
    for start, stop in runs:
        yield start - at
        yield stop - start
        at = stop


def _from_lengths(reader: ByteReader, base: int) -> list[Run]:
    runs: list[Run] = []
    at = base
    for _ in range(reader.number()):
        before, length = reader.number(), reader.number()
        if not length or (runs and not before):
            raise Malformed("runs that are empty or touch")
        runs.append(Run(at + before, at + before + length))
        at = runs[-1].stop
    return runs


def _bitmap(base: int, runs: Sequence[Run], length: int) -> bytes:
    """Return the runs as a bitmap, in which the lowest bit of the first byte is the base.

    Its digits are written first: bits set in one long number, a run at a time, take time with the square of the length.
    """
    digits, at = [], base
    for start, stop in runs:
        digits.append("0" * (start - at) + "1" * (stop - start))
        at = stop
    return int("".join(digits)[::-1], 2).to_bytes(length, "little")


def _from_bitmap(reader: ByteReader, base: int) -> list[Run]:
    span = reader.number()
    bits = int.from_bytes(reader.take(-(-span // 8)), "little")
    if not span or bits.bit_length() != span:
        raise Malformed("a bitmap that does not end with a finished offset")
    runs: list[Run] = []
    at = base
    for part in f"{bits:b}"[::-1].replace("01", "0 1").replace("10", "1 0").split():
        if part[0] == "1":
            runs.append(Run(at, at + len(part)))
        at += len(part)
    return runs


def _gaps(base: int, runs: Sequence[Run]) -> list[int]:
    """Return the number of finished offsets directly before each unfinished offset."""
    gaps, at, finished = [], base, 0
    for start, stop in runs:
        if start > at:
            gaps.append(finished)
            gaps += [0] * (start - at - 1)
            finished = 0
        finished += stop - start
        at = stop
    return gaps


def _from_gaps(reader: ByteReader, base: int) -> list[Run]:
    span, count, k = reader.number(), reader.number(), reader.byte()
    if not 0 < count < span:
        raise Malformed("nothing finished, or nothing unfinished")
    runs: list[Run] = []
    at = base
    for gap in reader.rice(count, k):
        if gap:
            runs.append(Run(at, at + gap))
        at += gap + 1
    if at >= base + span:
        raise Malformed("an unfinished offset behind the last finished one")
    return [*runs, Run(at, base + span)]
