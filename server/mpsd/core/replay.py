"""A replay of dead letters: what its task says, as a document of the control topic.

    replay           group, "replay", subscription, id                             what is to be done, and how far it may go
    replay-progress  group, "replay-progress", subscription, id, topic, partition  how far the owner of a source partition is
    replayed         group, "replayed", subscription, topic, partition, number     what of a dead-letter partition is settled

There is no runner: whoever owns a source partition replays the dead letters that came from it. Those of a partition that
exists no more are given to one owner too (see `ReplayTask.parts`). A task ends when all have reported.
Its bounds are where the dead-letter partitions ended when it was made, so a replay never chases its own tail.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from mpsd.core.control import Entity, EntityKey, Provenance, bytes_of, text_of
from mpsd.core.dead_letter_record import EVERY_DEAD_LETTER, DeadLetterFilter, DeadLetterRecord
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.retry import Disposition
from mpsd.core.untrusted import Unfit, flag, number, numbers, optional_number, real, table, text

KIND = "replay"
KEY_PARTS = 4
STRANGERS = "*"
"""No topic has this name."""


class ReplayTarget(StrEnum):
    """The target of a replay."""

    APPLICATION = "application"
    TOPIC = "topic"


class ReplayState(StrEnum):
    """The state of a replay task."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in {ReplayState.DONE, ReplayState.CANCELLED, ReplayState.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """The selection of dead letters to replay, and the way to replay them.

    Attributes:
        rate_max_per_s: a total of the fleet; 0: no limit.
        records_max: 0: no limit; kept by the bounds that the task is made with.
        again: also what was replayed before.
        include_quarantined: also what came back `replays_max` times.
    """

    filter: DeadLetterFilter = EVERY_DEAD_LETTER
    target: ReplayTarget = ReplayTarget.APPLICATION
    rate_max_per_s: float = 0.0
    records_max: int = 0
    again: bool = False
    include_quarantined: bool = False

    def wants(self, dead_letter: DeadLetterRecord) -> bool:
        """Return True if the plan selects the dead letter; quarantine and earlier replays are checked elsewhere."""
        return self.filter.matches(dead_letter)

    def quarantines(self, dead_letter: DeadLetterRecord, replays_max: int) -> bool:
        return dead_letter.replays >= replays_max and not self.include_quarantined


class ReplayPart(NamedTuple):
    """Dead letters of one dead-letter partition that one owner replays.

    Attributes:
        source: the source partition whose dead letters they are, under which the owner reports; of topic `STRANGERS`
            where no source partition that exists has its dead letters there.
        number: of the dead-letter partition.
        owner: the source partition whose owner replays them.
        takes_strangers: dead letters of partitions that exist no more, or of topics that are not read any more, are in it.
    """

    source: TopicPartition
    number: int
    owner: TopicPartition
    takes_strangers: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayTask:
    """A task.

    Attributes:
        bounds: of the dead-letter topic's partitions, by number: what it had when the task was made.
        sources: how many partitions each source topic had then.
        reason: why it is in its state, for people; empty when running or done.
        started_by: who made it; empty if nobody knows.
        started_reason: why.
        topic_id: of the dead-letter topic that the bounds are of; empty where that is not known.
        ended_at_ms: None while it has not.
    """

    id: str
    group: str
    subscription: str
    plan: ReplayPlan
    bounds: Sequence[LogBounds]
    sources: Mapping[str, int]
    state: ReplayState
    reason: str
    started_at_ms: int
    ended_at_ms: int | None
    started_by: str = ""
    started_reason: str = ""
    topic_id: str = ""
    revision: int = 0
    provenance: Provenance = field(default=Provenance("", "", 0, "", ""))

    @property
    def key(self) -> EntityKey:
        return task_key(self.group, self.subscription, self.id)

    def partitions(self) -> Iterable[TopicPartition]:
        """Return the source partitions whose owners must report."""
        return (TopicPartition(topic, number) for topic, count in self.sources.items() for number in range(count))

    def parts(self) -> list[ReplayPart]:
        """Return every part of the task: each dead letter within the bounds is of exactly one; none without a source."""
        sources = sorted(self.partitions())
        first: dict[int, TopicPartition] = {}
        for source in sources:
            first.setdefault(self.dead_letter_partition(source), source)
        parts = []
        for source in sources:
            number = self.dead_letter_partition(source)
            parts.append(ReplayPart(source, number, source, first[number] == source))
        for number in range(len(self.bounds) if sources else 0):
            if number not in first:
                owner = sources[number % len(sources)]
                parts.append(ReplayPart(TopicPartition(STRANGERS, number), number, owner, takes_strangers=True))
        return parts

    def dead_letter_partition(self, source: TopicPartition) -> int:
        """Return the number of the partition that has the dead letters of a source partition."""
        return source.partition % len(self.bounds)

    def document(self) -> dict[str, Any]:
        plan, wanted = self.plan, self.plan.filter
        return {
            "filter": {
                "since_ms": wanted.since_ms,
                "until_ms": wanted.until_ms,
                "dispositions": sorted(wanted.dispositions),
                "statuses": sorted(wanted.statuses),
                "reason_contains": wanted.reason_contains,
                "topic": wanted.topic,
                "partition": wanted.partition,
                "key": text_of(wanted.key),
            },
            "target": plan.target.value,
            "rate_max_per_s": plan.rate_max_per_s,
            "records_max": plan.records_max,
            "again": plan.again,
            "include_quarantined": plan.include_quarantined,
            "starts": [bounds.start for bounds in self.bounds],
            "ends": [bounds.end for bounds in self.bounds],
            "sources": dict(self.sources),
            "state": self.state.value,
            "reason": self.reason,
            "started_at_ms": self.started_at_ms,
            "ended_at_ms": self.ended_at_ms,
            "started_by": self.started_by,
            "started_reason": self.started_reason,
            "topic_id": self.topic_id,
        }


def task_key(group: str, subscription: str, task: str) -> EntityKey:
    return (group, KIND, subscription, task)


def parse_task(key: EntityKey, entity: Entity) -> ReplayTask | None:
    """Return the task of an entity; None for a document that is no task, which a foreign record may be."""
    if len(key) != KEY_PARTS or not key[3]:
        return None
    document = {
        "started_by": "",
        "started_reason": "",
        "topic_id": "",
        **entity.document,
    }  # before them there were tasks too
    try:
        return ReplayTask(
            id=key[3],
            group=key[0],
            subscription=key[2],
            plan=_plan(document),
            bounds=_bounds(document),
            sources={topic: number(table(document, "sources"), topic, 1) for topic in table(document, "sources")},
            state=ReplayState(text(document, "state")),
            reason=text(document, "reason"),
            started_at_ms=number(document, "started_at_ms"),
            ended_at_ms=optional_number(document, "ended_at_ms"),
            started_by=text(document, "started_by"),
            started_reason=text(document, "started_reason"),
            topic_id=text(document, "topic_id"),
            revision=entity.revision,
            provenance=entity.provenance,
        )
    except (Unfit, ValueError):
        return None


def _plan(document: Mapping[str, Any]) -> ReplayPlan:
    return ReplayPlan(
        filter=_filter(table(document, "filter")),
        target=ReplayTarget(text(document, "target")),
        rate_max_per_s=real(document, "rate_max_per_s"),
        records_max=number(document, "records_max"),
        again=flag(document, "again"),
        include_quarantined=flag(document, "include_quarantined"),
    )


def _filter(document: Mapping[str, Any]) -> DeadLetterFilter:
    words = document.get("dispositions")
    if not isinstance(words, list):
        raise Unfit("dispositions")
    return DeadLetterFilter(
        since_ms=optional_number(document, "since_ms"),
        until_ms=optional_number(document, "until_ms"),
        dispositions=frozenset(map(Disposition, words)),
        statuses=frozenset(numbers(document, "statuses")),
        reason_contains=text(document, "reason_contains"),
        topic=text(document, "topic"),
        partition=optional_number(document, "partition"),
        key=bytes_of(text(document, "key")),
    )


def _bounds(document: Mapping[str, Any]) -> list[LogBounds]:
    starts, ends = numbers(document, "starts"), numbers(document, "ends")
    bounds = [LogBounds(start, end) for start, end in zip(starts, ends, strict=True)]
    if not bounds or any(each.start > each.end for each in bounds):
        raise Unfit("ends")
    return bounds
