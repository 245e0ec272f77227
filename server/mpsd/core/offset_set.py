"""Offsets of a dead-letter partition that replays have settled: not offered again.

As text: base64 of the runs' shortest code (`run_codes`), relative to the lowest offset that the topic still has.
"""

from base64 import b64decode, b64encode
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from typing_extensions import override

from mpsd.core.byte_reader import ByteReader, Malformed
from mpsd.core.offset_tracker import Run, next_offset_after
from mpsd.core.run_codes import decode_runs, encode_runs

END_MAX = 1 << 63


class OffsetSet:
    """Offsets in runs that ascend and do not touch.

    Attributes:
        base: nothing below it is remembered, as the topic has it no more.
        topic_id: whose offsets they are, as a topic of the same name has others; empty where that is not known.
    """

    __slots__ = ("_starts", "_stops", "base", "topic_id")

    def __init__(self, base: int = 0, runs: Iterable[Run] = (), topic_id: str = "") -> None:
        self.base = base
        self.topic_id = topic_id
        kept = [run for run in runs if run.stop > base]
        self._starts = [max(run.start, base) for run in kept]
        self._stops = [run.stop for run in kept]

    @property
    def runs(self) -> Sequence[Run]:
        return list(map(Run._make, zip(self._starts, self._stops, strict=True)))

    def __contains__(self, offset: int) -> bool:
        at = bisect_right(self._starts, offset)
        return at > 0 and offset < self._stops[at - 1]

    def add(self, offset: int) -> None:
        """Add an offset; one below the base or known already changes nothing."""
        if offset < self.base or offset in self:
            return
        starts, stops, stop = self._starts, self._stops, next_offset_after(offset)
        at = bisect_right(starts, offset)
        joins_left = at > 0 and stops[at - 1] == offset
        joins_right = at < len(starts) and starts[at] == stop
        if joins_left and joins_right:
            stops[at - 1] = stops[at]
            del starts[at], stops[at]
        elif joins_left:
            stops[at - 1] = stop
        elif joins_right:
            starts[at] = offset
        else:
            starts.insert(at, offset)
            stops.insert(at, stop)

    def clip(self, base: int) -> None:
        """Forget offsets below the topic's new start."""
        if base > self.base:
            clipped = OffsetSet(base, self.runs)
            self.base, self._starts, self._stops = base, clipped._starts, clipped._stops

    def joined(self, other: "OffsetSet") -> "OffsetSet":
        """Return the offsets of both sets that are not below the higher base; of two topics only this one's."""
        if not same_topic(self.topic_id, other.topic_id):
            return OffsetSet(self.base, self.runs, self.topic_id)
        runs = list[Run]()
        for run in sorted((*self.runs, *other.runs)):
            if runs and run.start <= runs[-1].stop:
                runs[-1] = Run(runs[-1].start, max(run.stop, runs[-1].stop))
            else:
                runs.append(run)
        return OffsetSet(max(self.base, other.base), runs, self.topic_id or other.topic_id)

    def count(self, start: int, end: int) -> int:
        """Return how many of the offsets from `start` up to but not including `end` are remembered."""
        runs = zip(self._starts, self._stops, strict=True)
        return sum(max(0, min(stop, end) - max(begin, start)) for begin, stop in runs)

    def text(self) -> str:
        return b64encode(encode_runs(self.base, self.runs)).decode()

    @override
    def __repr__(self) -> str:
        return f"<OffsetSet base={self.base} runs={len(self._starts)}>"


def same_topic(one: str, other: str) -> bool:
    """Return True if these may be ids of the same topic; an empty id says nothing."""
    return not (one and other) or one == other


def parse_offsets(base: int, text: str) -> OffsetSet | None:
    """Parse the text that `OffsetSet.text` wrote with this base; None for anything else."""
    try:
        reader = ByteReader(b64decode(text, validate=True))
        runs = decode_runs(reader, base)
        reader.end()
    except (ValueError, Malformed):
        return None
    return OffsetSet(base, runs) if not runs or runs[-1].stop < END_MAX else None
