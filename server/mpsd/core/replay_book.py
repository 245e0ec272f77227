"""One subscription's replays in the control topic: its tasks, and the progress of the owners with each."""

from collections import Counter
from collections.abc import Mapping

from typing_extensions import override

from mpsd.core.control import Entity, EntityKey
from mpsd.core.offset_set import OffsetSet, same_topic
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.replay import REPLAY, ReplayState, ReplayTask
from mpsd.core.replay_progress import PROGRESS, REPLAYED, Progress, Replayed, Total, replayed, settled_offsets, total

KINDS = (REPLAY, PROGRESS, REPLAYED)
Reported = tuple[str, TopicPartition]
"""A task and a source partition."""
ReplayedPartition = tuple[TopicPartition, int]
"""A source partition, and the dead-letter partition that has its records."""


class ReplayBook:
    """Keeps the tasks of a subscription and what their owners report.

    Takes: entities as they change; records of others, and what cannot be read, are passed over.
    Gives: tasks in the order in which they were started.
    Holds at most: what the control state holds.

    Attributes:
        tasks: by id.
        overridden: reports that an owner of an older epoch wrote over; whoever owns the partition writes its own again.
        topic_id: of the dead-letter topic as it was last seen; what was settled of another one means nothing.
        settled_bytes: how much text the settled offsets of a place took when they were last written.
    """

    def __init__(self, group: str, subscription: str) -> None:
        self._group = group
        self._subscription = subscription
        self.tasks: dict[str, ReplayTask] = {}
        self._reports: dict[str, dict[TopicPartition, Progress]] = {}
        self._settled: dict[ReplayedPartition, Replayed] = {}
        self._looked_at: dict[ReplayedPartition, OffsetSet] = {}
        self.topic_id = ""
        self.settled_bytes: dict[ReplayedPartition, int] = {}
        self.overridden: set[Reported] = set()

    def on_entity(self, key: EntityKey, entity: Entity | None) -> bool:
        """Take a changed entity, None if it was removed; return True if a task changed."""
        if key[0] != self._group or key[2:3] != (self._subscription,):
            return False
        if REPLAY.key_of(key) is not None:
            return self._on_task(key, entity)
        if (report := PROGRESS.key_of(key)) is not None:
            source = TopicPartition(report.topic, report.partition)
            if entity is None:
                self._reports.get(report.task, {}).pop(source, None)
            elif (progress := PROGRESS.parse(key, entity)) is not None:
                self.see_report(report.task, source, progress)
        elif (at := REPLAYED.key_of(key)) is not None:
            settled = REPLAYED.parse(key, entity) if entity is not None else None
            if entity is None or settled is not None:
                self._on_settled((TopicPartition(at.topic, at.partition), at.dead_letter_partition), settled)
        return False

    def running(self) -> list[ReplayTask]:
        """Return the tasks that are neither paused nor over, the oldest first."""
        return sorted(
            (task for task in self.tasks.values() if task.state is ReplayState.RUNNING),
            key=lambda task: (task.started_at_ms, task.id),
        )

    def report(self, task: str, source: TopicPartition) -> Progress | None:
        return self._reports.get(task, {}).get(source)

    def see_report(self, task: str, source: TopicPartition, progress: Progress) -> None:
        """Take an owner's report; a report of an older epoch, or of an earlier moment, changes nothing."""
        known = self.report(task, source)
        if known is not None and progress.epoch < known.epoch:
            self.overridden.add((task, source))
        if known is None or _rank(progress) >= _rank(known):
            self._reports.setdefault(task, {})[source] = progress

    def see_topic(self, topic_id: str) -> None:
        """Take the id of the dead-letter topic; empty if the id is not known."""
        if topic_id not in {"", self.topic_id}:
            self.topic_id = topic_id
            self._looked_at.clear()

    def settled(self, place: ReplayedPartition, topic_id: str = "") -> OffsetSet:
        """Return a copy of the offsets that replays have settled of a dead-letter partition.

        It is decoded when somebody asks: every instance hears of every report, and few ask.

        Args:
            topic_id: of the topic that is meant; empty: the one that was last seen.
        """
        topic_id = topic_id or self.topic_id
        found = self._known(place)
        if found is None or not same_topic(found.topic_id, topic_id):
            return OffsetSet(topic_id=topic_id)
        found.topic_id = found.topic_id or topic_id
        return found

    def _known(self, place: ReplayedPartition) -> OffsetSet | None:
        document = self._settled.get(place)
        return settled_offsets(document) if document is not None else None

    def is_settled(self, number: int, offset: int) -> bool:
        """Return True if a replay has settled a dead letter, whichever owner replayed it.

        Args:
            number: the partition of the dead-letter topic that has it.
        """
        return any(offset in self._decoded(known) for known in self._settled if known[1] == number)

    def _decoded(self, place: ReplayedPartition) -> OffsetSet:
        if place not in self._looked_at:
            self._looked_at[place] = self.settled(place)
        return self._looked_at[place]

    def unresolved(self, bounds: Mapping[int, LogBounds]) -> int:
        """Return how many offsets of the dead-letter topic no replay has settled.

        Args:
            bounds: of its partitions, by number.
        """
        settled = (self._decoded(place).count(*bounds[place[1]]) for place in list(self._settled) if place[1] in bounds)
        return max(0, sum(end - start for start, end in bounds.values()) - sum(settled))

    def counts(self) -> Counter[str]:
        """Return how many tasks are in each state."""
        return Counter(task.state.value for task in self.tasks.values())

    def see_settled(self, place: ReplayedPartition, document: Replayed) -> None:
        """Take a written document; one that cannot be decoded counts as nothing settled, so that all is offered again."""
        self._settled[place] = document
        self._looked_at.pop(place, None)
        self.settled_bytes[place] = len(document.offsets)

    def total(self, task: ReplayTask) -> Total:
        return total(task, self._reports.get(task.id, {}))

    def reported(self, task: str) -> list[TopicPartition]:
        """Return the source partitions that have a report."""
        return list(self._reports.get(task, {}))

    def _on_task(self, key: EntityKey, entity: Entity | None) -> bool:
        if entity is None:
            self._reports.pop(key[-1], None)
            return self.tasks.pop(key[-1], None) is not None
        task = REPLAY.parse(key, entity)
        if task is not None:
            self.tasks[task.id] = task
        return task is not None

    def _on_settled(self, place: ReplayedPartition, document: Replayed | None) -> None:
        if document is not None:
            before = self._settled.get(place)
            is_stale = before is not None and document.epoch < before.epoch
            self.see_settled(place, self._joined(place, document) if is_stale else document)
            return
        for known in (self._settled, self._looked_at, self.settled_bytes):
            known.pop(place, None)

    def _joined(self, place: ReplayedPartition, stale: Replayed) -> Replayed:
        """Return a former owner's stale offsets joined with the known ones, so that nothing is undone and nothing is lost."""
        document, known, more = self._settled[place], self._known(place), settled_offsets(stale)
        if more is None:
            return document
        return replayed(known.joined(more) if known is not None else more, document.epoch)

    @override
    def __repr__(self) -> str:
        return f"<ReplayBook {self._subscription} tasks={len(self.tasks)} running={len(self.running())}>"


def _rank(progress: Progress) -> tuple[int, int, int]:
    """Within an epoch an owner only comes further; its own report, read back late, must not undo a later one."""
    return progress.epoch, progress.next_offset, progress.counts.succeeded + progress.counts.failed
