"""Lives of records: a reset begins a new life, and every replay of a dead letter is a life of its own.

So every guarantee holds within a life as if there were neither: a record has a topic of its own in each, `orders`,
`orders#1` after one reset, `orders!r5` in a replay.
"""

from collections.abc import Collection
from typing import NamedTuple

from mpsd.core.delivery import Assignment, Delivery, ReplayedDelivery
from mpsd.core.record import Record, TopicPartition
from mpsd.demo.guarantees.events import SeenRecord


class Begun(NamedTuple):
    """A life that began with a commit, in a generation of the group."""

    reset_id: str
    offset: int
    generation: int


class Lives:
    """Lives of all partitions."""

    def __init__(self) -> None:
        self._begun: dict[TopicPartition, list[Begun]] = {}
        self._assigned: dict[Assignment, int] = {}
        self._replays: set[str] = set()

    def reset_id(self, tp: TopicPartition) -> str:
        """Return the id of the reset that was applied last; empty if none was."""
        begun = self._begun.get(tp)
        return begun[-1].reset_id if begun else ""

    def begin(self, tp: TopicPartition, reset_id: str, offset: int, generation: int) -> None:
        self._begun.setdefault(tp, []).append(Begun(reset_id, offset, generation))

    def assigned(self, assignment: Assignment) -> None:
        """Note an assignment: its deliveries are of the life that the partition has now, whatever is committed later."""
        self._assigned[assignment] = len(self._begun.get(assignment.tp, ()))

    def begun(self, assignment: Assignment) -> Begun | None:
        """Return the beginning of the assignment's life; None if there was no reset before."""
        index = self._assigned[assignment]
        return self._begun[assignment.tp][index - 1] if index else None

    def replay(self, task: str) -> None:
        self._replays.add(task)

    def now(self, record: Record) -> Record:
        """Return the record under the name of its present life."""
        return _of(record, len(self._begun.get(TopicPartition(record.topic, record.partition), ())))

    def partition_now(self, tp: TopicPartition) -> TopicPartition:
        return TopicPartition(_named(tp.topic, len(self._begun.get(tp, ()))), tp.partition)

    def of(self, delivery: Delivery) -> Record:
        """Return the delivered record under the name of its life."""
        record, assignment = delivery.record, delivery.assignment
        if isinstance(delivery, ReplayedDelivery):
            topic = f"{record.topic}!{delivery.replay}"
            return SeenRecord(topic, record.partition, delivery.dead_letter_offset, record.key)
        return _of(record, self._assigned[assignment])

    def partitions(self, tps: Collection[TopicPartition] | None) -> Collection[TopicPartition] | None:
        """All lives of these, replays left out."""
        if tps is None:
            return None
        return {
            TopicPartition(_named(tp.topic, index), tp.partition)
            for tp in tps
            for index in range(len(self._begun.get(tp, ())) + 1)
        }

    def replayed(self, tps: Collection[TopicPartition] | None) -> Collection[TopicPartition] | None:
        """All replays of these."""
        if tps is None:
            return None
        return {TopicPartition(f"{tp.topic}!{task}", tp.partition) for tp in tps for task in self._replays}


def _named(topic: str, index: int) -> str:
    return f"{topic}#{index}" if index else topic


def _of(record: Record, index: int) -> Record:
    return SeenRecord(_named(record.topic, index), record.partition, record.offset, record.key) if index else record
