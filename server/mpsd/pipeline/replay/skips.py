"""Skip the dead letter that blocks a key: settle it without a delivery.

The records that were blocked behind it are for a replay, which can succeed with the dead letter out of the way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mpsd.core.blocked_keys import first_dead_letter
from mpsd.core.dead_letter_record import DeadLetterRecord, source_of
from mpsd.core.offset_set import OffsetSet
from mpsd.core.record import LogBounds, Record
from mpsd.core.retry import Disposition
from mpsd.errors import DeadLetterTopicGone, RecordNotHere, ReplayRefused
from mpsd.pipeline.pending_queue import PartitionQueue
from mpsd.pipeline.replay.scan import DeadLetterScan
from mpsd.pipeline.replay.tasks import Replays


class DeadHead(NamedTuple):
    """A record that is dead and blocked its key, and is settled now.

    Attributes:
        number: of the dead-letter topic's partition that has its dead letters.
        dead letter: offset of the first of them there.
        behind: how many records of the key were blocked behind it.
    """

    key: bytes
    number: int
    dead_letter: int
    behind: int


@dataclass(slots=True)
class _Found:
    """The dead letters of a blocked key, as far as a skip needs to know.

    Attributes:
        dead letters: of the record that is skipped, settled or not.
        unsettled: those of them that are not.
        is_dead: one of these died, so that nothing behind it can go.
        behind: unsettled dead letters of other records.
        blocker: source offset of the first of those that died; -1: none did.
        is_meant: a replay that is at work there means one of them.
    """

    dead_letters: list[int] = field(default_factory=list)
    unsettled: list[int] = field(default_factory=list)
    is_dead: bool = False
    behind: int = 0
    blocker: int = -1
    is_meant: bool = False


async def skip_dead(queue: PartitionQueue, replays: Replays, offset: int, not_queued: RecordNotHere) -> DeadHead:
    """Settle the dead letters of a record whose key is blocked. Asked again, it is done again and changes nothing.

    Args:
        offset: of the record in its source partition.
        not_queued: raised if it has no dead letter of a blocked key.

    Raises:
        RecordNotHere: it has none, or it does not hold the key: another dead letter does.
        ReplayRefused: a replay is at work on the key.
        DeadLetterTopicGone, KafkaUnavailable, KafkaRefused: it could not be looked up.
        ControlUnavailable, ControlOff: it may be settled or not.
    """
    source = queue.assignment.tp
    if not queue.blocked:
        raise not_queued
    look = await _look(queue, replays, offset)
    found = await look.around()
    while look.is_outdated():  # a run began or ended meanwhile
        look = await _look(queue, replays, offset)
        found = await look.around()
    key, its = next(((key, each) for key, each in found.items() if each.dead_letters), (b"", None))
    if its is None or key not in queue.blocked:
        raise not_queued
    if not its.is_dead and its.blocker >= 0:
        raise RecordNotHere(
            f"{source}@{offset} does not hold its key: {source}@{its.blocker} does; skip that, or replay the key"
        )
    if its.is_meant and (task := replays.run_of(queue.assignment)) is not None:
        raise ReplayRefused(
            f"replay {task.id} is at work on the key of {source}@{offset}: cancel it, or wait for its end"
        )
    if its.unsettled:
        await replays.settle(queue, look.number, its.unsettled)
    return DeadHead(key, look.number, its.dead_letters[0], its.behind)


async def _look(queue: PartitionQueue, replays: Replays, offset: int) -> "_Look":
    blocked = dict(queue.blocked)  # before the bounds: what comes to be blocked meanwhile lies beyond them
    bounds = await replays.rules.log.bounds()
    replays.book.see_topic(replays.rules.log.topic_id)
    number = queue.assignment.tp.partition % max(1, len(bounds))
    if number not in bounds:
        raise DeadLetterTopicGone(f"dead-letter topic {replays.rules.topic} has no partition {number} any more")
    begins = {key: first_dead_letter(each, number, bounds[number]) for key, each in blocked.items()}
    return _Look(queue, replays, offset, number, begins, bounds[number].end)


class _Look:
    """Reads what there is of the blocked keys of a partition.

    Holds at most: a fetch, and an entry for each blocked key.
    """

    def __init__(
        self, queue: PartitionQueue, replays: Replays, offset: int, number: int, begins: Mapping[bytes, int], end: int
    ) -> None:
        """Begin.

        Args:
            offset: of the record that is to be skipped.
            number: of the dead-letter topic's partition that has the dead letters, up to `end`.
            begins: by blocked key, where its dead letters begin.
        """
        self._replays = replays
        self._queue = queue
        self._offset = offset
        self._source = queue.assignment.tp
        self.number = number
        self._begins = begins
        self._end = end
        self._settled: OffsetSet = replays.settled(queue, self.number)
        self._task = replays.run_of(queue.assignment)

    def is_outdated(self) -> bool:
        """Return True if another replay is at work there now than when the look began."""
        task = self._replays.run_of(self._queue.assignment)
        return (task and task.id) != (self._task and self._task.id)

    async def around(self) -> dict[bytes, _Found]:
        """Through the part of the log that can have something of them."""
        bounds = LogBounds(min(self._begins.values(), default=self._end), self._end)
        scan = DeadLetterScan(
            self._replays.rules.log, self.number, bounds, {self._replays.subscription}, self._is_of_blocked_key
        )
        found = dict[bytes, _Found]()
        async for part in scan:
            for dead_letter in part.dead_letters:
                assert dead_letter.key is not None
                self._see(dead_letter, dead_letter.key, found)
        return found

    def _is_of_blocked_key(self, record: Record) -> bool:
        begin = self._begins.get(record.key) if record.key is not None else None
        return begin is not None and record.offset >= begin and source_of(record) == self._source

    def _see(self, dead_letter: DeadLetterRecord, key: bytes, found: dict[bytes, _Found]) -> None:
        each = found.setdefault(key, _Found())
        each.is_meant |= self._task is not None and self._task.plan.wants(dead_letter)
        is_open, died = dead_letter.offset not in self._settled, dead_letter.disposition is not Disposition.BLOCKED
        if dead_letter.source_offset == self._offset:
            each.dead_letters.append(dead_letter.offset)
            each.unsettled += [dead_letter.offset] if is_open else []
            each.is_dead |= is_open and died
        elif is_open and dead_letter.disposition is not Disposition.SKIPPED:  # a replay of the key passes it by
            each.behind += 1
            if died and not 0 <= each.blocker < dead_letter.source_offset:
                each.blocker = dead_letter.source_offset
