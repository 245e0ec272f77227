"""The progress of a source partition's owner with a replay: an offset map over the dead-letter partition.

What was read and is not settled is unfinished, as in a partition that is delivered; what does not match is passed by. So
whoever goes on, after a kill or a rebalance, takes up exactly what was not known to be settled, and skips nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from mpsd.core.control import EntityKey
from mpsd.core.metadata_text import Packing
from mpsd.core.offset_map import MapSpace, OffsetMap, decode, encode
from mpsd.core.offset_set import OffsetSet, parse_offsets
from mpsd.core.offset_tracker import OffsetTracker
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.replay import ReplayTask
from mpsd.core.untrusted import Unfit, flag, number, text

PROGRESS_KIND = "replay-progress"
REPLAYED_KIND = "replayed"
PROGRESS_PARTS = 6
REPLAYED_PARTS = 6
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

    matched: int = 0
    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    expired: int = 0
    left_out: int = 0


COUNTS = tuple(each.name for each in fields(Counts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An owner's report.

    Attributes:
        epoch: of its ownership; a report of a lower one never overrides one of a higher.
        next_offset: base of the map: everything below is settled or does not match.
        map_text: see `offset_map`; empty where nothing beyond is settled.
        done: everything within the bounds is settled.
    """

    epoch: int
    next_offset: int
    map_text: str
    counts: Counts
    done: bool

    def document(self) -> dict[str, Any]:
        counts = {name: getattr(self.counts, name) for name in COUNTS}
        return {
            "epoch": self.epoch, "next_offset": self.next_offset, "map": self.map_text, "done": self.done, **counts
        }  # fmt: skip


def progress_key(task: ReplayTask, source: TopicPartition) -> EntityKey:
    return (task.group, PROGRESS_KIND, task.subscription, task.id, source.topic, str(source.partition))


def parse_progress(document: Mapping[str, Any]) -> Progress | None:
    """Return an owner's report; None for anything else."""
    try:
        return Progress(
            epoch=number(document, "epoch", -1),
            next_offset=number(document, "next_offset"),
            map_text=text(document, "map"),
            counts=Counts(**{name: number(document, name) for name in COUNTS}),
            done=flag(document, "done"),
        )
    except Unfit:
        return None


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
    return (group, REPLAYED_KIND, subscription, source.topic, str(source.partition), str(dead_letter_partition))


def replayed_document(settled: OffsetSet, epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "base": settled.base, "offsets": settled.text(), "topic_id": settled.topic_id}


def parse_replayed(document: Mapping[str, Any]) -> OffsetSet | None:
    """Return the offsets that `replayed_document` wrote; None for anything else."""
    try:
        number(document, "epoch", -1)
        found = parse_offsets(number(document, "base"), text(document, "offsets"))
        topic_id = text({"topic_id": "", **document}, "topic_id")  # before it there were documents too
    except Unfit:
        return None
    return OffsetSet(found.base, found.runs, topic_id) if found is not None else None


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
            _add(counts, report.counts, (name for name in COUNTS if name != "expired"))
    counts.expired = sum(expired.values())
    return Total(counts, sum(left.values()), is_done)


def _add(counts: Counts, more: Counts, names: Iterable[str]) -> None:
    for name in names:
        setattr(counts, name, getattr(counts, name) + getattr(more, name))
