"""The progress of a source partition's owner with a replay: an offset map over the dead-letter partition.

What was read and is not settled is unfinished, as in a partition that is delivered; what does not match is passed by. So
whoever goes on, after a kill or a rebalance, takes up exactly what was not known to be settled, and skips nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, NamedTuple

from mpsd.core.control import EntityKey, Kind
from mpsd.core.metadata_text import Packing
from mpsd.core.offset_map import MapSpace, OffsetMap, decode, encode
from mpsd.core.offset_set import OffsetSet, parse_offsets
from mpsd.core.offset_tracker import OffsetTracker
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.replay import ReplayTask

SPACE = MapSpace(Packing.ASCII, 65_536)
"""Far more than the map of `OUTSTANDING_MAX` unfinished records takes, whatever their spread; attempts included."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """Dead letters of one source partition, in one task.

    Attributes:
        matched: met by the filter, and neither quarantined nor replayed before.
        sent: handed to the pipeline, or to the producer.
        succeeded: accepted, or written to the source topic.
        failed: dead again: there is a new dead letter.
        expired: offsets that the topic lost before they were read, whosever they were.
        left_out: matched, but their values are not in the topic: they were too large for it.
    """

    matched: Annotated[int, 0] = 0
    sent: Annotated[int, 0] = 0
    succeeded: Annotated[int, 0] = 0
    failed: Annotated[int, 0] = 0
    expired: Annotated[int, 0] = 0
    left_out: Annotated[int, 0] = 0


SUMMED = tuple(each.name for each in fields(Counts) if each.name != "expired")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An owner's report.

    Attributes:
        epoch: of its ownership; a report of a lower one never overrides one of a higher.
        next_offset: base of the map: everything below is settled or does not match.
        map_text: see `offset_map`; empty where nothing beyond is settled.
        done: everything within the bounds is settled.
    """

    epoch: Annotated[int, -1]
    next_offset: Annotated[int, 0]
    map_text: str
    counts: Counts
    done: bool

    def document(self) -> dict[str, Any]:
        return PROGRESS.document(self)


class ProgressId(NamedTuple):
    """The key of a report: a task, and the source partition whose owner reports."""

    subscription: str
    task: str
    topic: str
    partition: int


PROGRESS = Kind(name="replay-progress", key=ProgressId, value=Progress)


class ReplayedId(NamedTuple):
    """The key of what replays have settled: a source partition, and the dead-letter partition that has its records."""

    subscription: str
    topic: str
    partition: int
    dead_letter_partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Offsets of a dead-letter partition that replays have settled, as text that is decoded when somebody asks.

    Attributes:
        epoch: of the ownership of whoever wrote it; -1 if unknown.
        base, offsets, topic_id: see `OffsetSet`.
    """

    epoch: Annotated[int, -1]
    base: Annotated[int, 0]
    offsets: str
    topic_id: str = ""


REPLAYED = Kind(name="replayed", key=ReplayedId, value=Replayed)


def progress_key(task: ReplayTask, source: TopicPartition) -> EntityKey:
    return PROGRESS.entity_key(task.group, ProgressId(task.subscription, task.id, *source))


def snapshot(tracker: OffsetTracker, tp: TopicPartition, epoch: int, counts: Counts, bound: int) -> Progress:
    """Return the report of this moment: base and map."""
    now = tracker.snapshot()
    return Progress(
        epoch=epoch,
        next_offset=now.next_offset,
        map_text=encode(now, tp, SPACE).text,
        counts=replace(counts),
        done=now.next_offset >= bound,
    )


def restored(progress: Progress | None, tp: TopicPartition, bounds: LogBounds) -> tuple[OffsetTracker, Counts]:
    """Return the state in which the next owner goes on; unreadable parts are done again, those in flight are sent again.

    Args:
        tp: of the dead-letter topic.
    """
    if progress is None or not bounds.start <= progress.next_offset <= bounds.end:
        return OffsetTracker(bounds.start), Counts()
    found = decode(progress.map_text, tp, progress.next_offset, bounds.start, bounds.end)
    known = found if isinstance(found, OffsetMap) else OffsetMap((), ())
    settled = progress.counts.succeeded + progress.counts.failed
    counts = replace(progress.counts, sent=settled, matched=settled + progress.counts.left_out)
    return OffsetTracker(progress.next_offset, known.runs, known.attempts), counts


def replayed_key(group: str, subscription: str, source: TopicPartition, dead_letter_partition: int) -> EntityKey:
    return REPLAYED.entity_key(group, ReplayedId(subscription, *source, dead_letter_partition))


def replayed(settled: OffsetSet, epoch: int) -> Replayed:
    """Return the document of settled offsets."""
    return Replayed(epoch=epoch, base=settled.base, offsets=settled.text(), topic_id=settled.topic_id)


def settled_offsets(document: Replayed) -> OffsetSet | None:
    """Return the offsets of a document; None if its text cannot be decoded."""
    found = parse_offsets(document.base, document.offsets)
    return OffsetSet(found.base, found.runs, document.topic_id) if found is not None else None


class Total(NamedTuple):
    """A task's progress over all source partitions.

    Attributes:
        left: records of the dead-letter topic still to be looked at.
        is_done: every owner has reported that it is through.
    """

    counts: Counts
    left: int
    is_done: bool


def total(task: ReplayTask, reports: Mapping[TopicPartition, Progress]) -> Total:
    """Return the sums; source partitions that share a dead-letter partition each look at its records."""
    parts = task.parts()
    counts, is_done = Counts(), bool(parts)
    left, expired = dict.fromkeys(range(len(task.bounds)), 0), dict.fromkeys(range(len(task.bounds)), 0)
    for source, at, *_ in parts:
        report = reports.get(source)
        begin, end = task.bounds[at]
        is_done = is_done and report is not None and report.done
        left[at] = max(left[at], end - (begin if report is None else min(end, report.next_offset)))
        if report is not None:
            expired[at] = max(expired[at], report.counts.expired)
            for name in SUMMED:
                setattr(counts, name, getattr(counts, name) + getattr(report.counts, name))
    counts.expired = sum(expired.values())
    return Total(counts, sum(left.values()), is_done)
