"""A replay of dead letters: what its task says, as a document of the control topic.

    replay           group, "replay", subscription, id                             what is to be done, and how far it may go
    replay-progress  group, "replay-progress", subscription, id, topic, partition  how far the owner of a source partition is
    replayed         group, "replayed", subscription, topic, partition, number     what of a dead-letter partition is settled

There is no runner: whoever owns a source partition replays the dead letters that came from it. Those of a partition that
exists no more are given to one owner too (see `ReplayTask.parts`). A task ends when all have reported.
Its bounds are where the dead-letter partitions ended when it was made, so a replay never chases its own tail.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from mpsd.core.control import NOBODY, EntityKey, Kind, Provenance
from mpsd.core.dead_letter_record import EVERY_DEAD_LETTER, DeadLetterFilter, DeadLetterRecord
from mpsd.core.record import LogBounds, TopicPartition

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
    rate_max_per_s: Annotated[float, 0] = 0.0
    records_max: Annotated[int, 0] = 0
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
    sources: Mapping[str, Annotated[int, 1]]
    state: ReplayState
    reason: str
    started_at_ms: Annotated[int, 0]
    ended_at_ms: Annotated[int, 0] | None
    started_by: str = ""
    started_reason: str = ""
    topic_id: str = ""
    revision: int = 0
    provenance: Provenance = NOBODY

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
        return REPLAY.document(self)


class TaskId(NamedTuple):
    """The key of a task."""

    subscription: str
    id: str


def _is_possible(task: ReplayTask) -> bool:
    return bool(task.id and task.bounds) and all(each.start <= each.end for each in task.bounds)


REPLAY = Kind(name="replay", key=TaskId, value=ReplayTask, fits=_is_possible)


def task_key(group: str, subscription: str, task: str) -> EntityKey:
    return REPLAY.entity_key(group, TaskId(subscription, task))
