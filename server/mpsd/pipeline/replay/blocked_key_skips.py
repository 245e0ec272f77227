"""Skip the dead letter that blocks a key: settle it without a delivery.

The records that were blocked behind it are for a replay, which can succeed with the dead letter out of the way.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from mpsd.core.blocked_keys import first_dead_letter
from mpsd.core.dead_letter_record import DeadLetterRecord
from mpsd.core.record import LogBounds
from mpsd.core.retry import Disposition
from mpsd.errors import RecordNotHere, ReplayRefused
from mpsd.pipeline.pending_queue import PartitionQueue
from mpsd.pipeline.replay.scan import DeadLetterScan, select_keys
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
        dead_letters: of the record that is skipped, settled or not.
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

    def see(self, dead_letter: DeadLetterRecord, offset: int, *, is_open: bool) -> None:
        """Add a dead letter of the key.

        Args:
            offset: of the record that is skipped.
            is_open: no replay has settled the dead letter.
        """
        died = dead_letter.disposition is not Disposition.BLOCKED
        if dead_letter.source_offset == offset:
            self.dead_letters.append(dead_letter.offset)
            self.unsettled += [dead_letter.offset] if is_open else []
            self.is_dead |= is_open and died
        elif is_open and dead_letter.disposition is not Disposition.SKIPPED:  # a replay of the key passes it by
            self.behind += 1
            if died and not 0 <= self.blocker < dead_letter.source_offset:
                self.blocker = dead_letter.source_offset


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
    rules, task_of = replays.rules, partial(replays.run_of, queue.assignment)
    while True:
        blocked = dict(queue.blocked)  # before the bounds: what comes to be blocked meanwhile lies beyond them
        all_bounds = await rules.log.bounds()
        replays.book.see_topic(rules.log.topic_id)
        number = source.partition % max(1, len(all_bounds))
        bounds = rules.bounds_of(all_bounds, number)
        begins = {key: first_dead_letter(each, number, bounds) for key, each in blocked.items()}
        task, settled = task_of(), replays.settled(queue, number)
        rest = LogBounds(min(begins.values(), default=bounds.end), bounds.end)
        found = dict[bytes, _Found]()
        async for part in DeadLetterScan(rules.log, number, rest, {replays.subscription}, select_keys(source, begins)):
            for dead_letter in part.dead_letters:
                each = found.setdefault(dead_letter.key or b"", _Found())
                each.see(dead_letter, offset, is_open=dead_letter.offset not in settled)
                each.is_meant |= task is not None and task.plan.wants(dead_letter)
        if task_of() is task:  # else a run began or ended meanwhile
            break
    key, its = next(((key, each) for key, each in found.items() if each.dead_letters), (b"", None))
    if its is None or key not in queue.blocked:
        raise not_queued
    if not its.is_dead and its.blocker >= 0:
        raise RecordNotHere(
            f"{source}@{offset} does not hold its key: {source}@{its.blocker} does; skip that, or replay the key"
        )
    if its.is_meant and task is not None:
        raise ReplayRefused(
            f"replay {task.id} is at work on the key of {source}@{offset}: cancel it, or wait for its end"
        )
    if its.unsettled:
        await replays.settle(queue, number, its.unsettled)
    return DeadHead(key, number, its.dead_letters[0], its.behind)
