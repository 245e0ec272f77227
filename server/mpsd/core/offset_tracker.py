"""Offsets of a partition that are finished, and so how far the group may commit.

Only unfinished offsets are kept, in the order in which they were read: their first is the commit point, and everything
between them that lies below the read position is finished or never existed. Holes of the log (compaction, transaction
markers, a log that starts at 1,000,000) therefore need no care: an offset that was not read cannot hold anything up.

    read 5 6 9 10      unfinished 5 6 9 10    next_offset 5     end 11
    finished 6 10      unfinished 5 9         next_offset 5     runs beyond: 6-9 (6, and 7-8 never existed), 10-11
    finished 5         unfinished 9           next_offset 9     runs beyond: 10-11
    finished 9         unfinished             next_offset 11

`offset` is a record's own; `next_offset` is what Kafka commits, the first that is not finished. `next_offset_after` is
the one place where the one becomes the other.
"""

from collections.abc import Iterable
from typing import NamedTuple

from typing_extensions import override

from mpsd.core.delivery import Delivery


def next_offset_after(offset: int) -> int:
    """Return the offset that Kafka commits to say that `offset` is finished."""
    return offset + 1


class Run(NamedTuple):
    """Offsets from `start` up to but not including `stop`."""

    start: int
    stop: int


class Snapshot(NamedTuple):
    """Finished offsets, all of one moment.

    Attributes:
        next_offset: everything below is finished.
        runs: what is finished beyond it, ascending, not touching each other.
        attempts: (offset, attempts spent) of unfinished records that have failed, ascending.
    """

    next_offset: int
    runs: tuple[Run, ...]
    attempts: tuple[tuple[int, int], ...]


class Spread(NamedTuple):
    """Offsets from a base on.

    Attributes:
        span: how many they are, up to the last finished one.
        unfinished: how many of them are not finished.
    """

    span: int
    unfinished: int


class OffsetTracker:
    """Unfinished offsets of one partition.

    Takes: offsets in ascending order as they are read, then each once as it is finished, in any order.
    Gives: the commit point and the finished runs beyond it.
    Holds at most: one entry per unfinished offset (the PendingQueue's bound) and what was restored from a
        commit.
    """

    __slots__ = ("end", "highest_finished", "restored", "restored_attempts", "unfinished")

    def __init__(
        self, next_offset: int, finished: Iterable[Run] = (), attempts: Iterable[tuple[int, int]] = ()
    ) -> None:
        """Begin at a commit point.

        Args:
            next_offset: the first offset that will be read.
            finished: runs beyond it that were finished before, ascending; reading them again yields nothing to do.
            attempts: (offset, attempts) that unfinished records had spent before, ascending; whoever reads one takes it.
        """
        self.unfinished: dict[int, Delivery] = {}
        self.restored = [run for run in finished if run.stop > next_offset]
        self.restored_attempts = dict(attempts)
        self.end = next_offset
        self.highest_finished = self.restored[-1].stop - 1 if self.restored else -1

    def read(self, offset: int, delivery: Delivery) -> None:
        """Add a record that was read and is unfinished. Offsets must ascend."""
        self.unfinished[offset] = delivery
        self.end = next_offset_after(offset)

    def read_to(self, end: int) -> None:
        """Note that all below `end` was read; no record exists between the last one and `end`."""
        self.end = max(self.end, end)

    def was_finished(self, offset: int) -> bool:
        """Return True if a restored run covers the offset. Ask in ascending order, because runs passed by are forgotten."""
        restored = self.restored
        while restored and restored[0].stop <= offset:
            del restored[0]
        return bool(restored) and restored[0].start <= offset

    def finished(self, offset: int) -> None:
        """Remove a record that is accepted or durably dead-lettered.

        Raises:
            KeyError: the offset was not read, or finished before.
        """
        del self.unfinished[offset]
        self.highest_finished = max(self.highest_finished, offset)

    @property
    def next_offset(self) -> int:
        """Return the offset to commit: the first unfinished one, or the read position."""
        return next(iter(self.unfinished), self.end)

    @property
    def state(self) -> tuple[int, int, int]:
        """Return a value that differs whenever a snapshot could differ, attempts aside."""
        return self.end, self.highest_finished, len(self.unfinished)

    def oldest(self) -> Delivery | None:
        """Return the unfinished record that holds up the commit."""
        return next(iter(self.unfinished.values()), None)

    def snapshot(self) -> Snapshot:
        """Return base, runs and attempts of one moment. Cost: the unfinished offsets below the highest finished one."""
        attempts = [(o, d.failures.attempts) for o, d in self.unfinished.items() if d.failures and d.failures.attempts]
        attempts += [(offset, spent) for offset, spent in self.restored_attempts.items() if offset >= self.end]
        return Snapshot(self.next_offset, tuple(self._runs()), tuple(attempts))

    def spread(self, first: int, stop: int, records: int) -> Spread:
        """Return how far snapshots could spread if so many more records were read, whatever finishes by then.

        Args:
            first: offset of the first of them.
            stop: the offset behind the last of them.
        """
        base = next(iter(self.unfinished), first)
        unread = sum(run.stop - max(run.start, stop) for run in self.restored if run.stop > stop)
        beyond = max(stop, self.restored_end)
        return Spread(beyond - base, len(self.unfinished) + records + beyond - stop - unread)

    @property
    def restored_end(self) -> int:
        """Return the offset behind all that was finished before and is not read yet; 0 if there is none."""
        return self.restored[-1].stop if self.restored else 0

    def _runs(self) -> list[Run]:
        """Return finished runs beyond the base: between unfinished offsets, then those restored and not read yet."""
        runs, start = [], self.next_offset
        for offset in self.unfinished:
            if offset > self.highest_finished:
                break
            if offset > start:
                runs.append(Run(start, offset))
            start = next_offset_after(offset)
        stop = min(next_offset_after(self.highest_finished), self.end)
        if stop > start:
            runs.append(Run(start, stop))
        for run in self.restored:
            start = max(run.start, self.end)
            if run.stop > start:
                if runs and runs[-1].stop == start:
                    start = runs.pop().start
                runs.append(Run(start, run.stop))
        return runs

    @override
    def __repr__(self) -> str:
        return f"<OffsetTracker next_offset={self.next_offset} end={self.end} unfinished={len(self.unfinished)}>"
