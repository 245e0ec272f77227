"""Sees what becomes of blocked keys, and tells the guarantees."""

from collections.abc import Collection, Sequence

from mpsd.core.blocked_keys import BlockedKeyBook
from mpsd.core.control import Entity, EntityKey
from mpsd.core.delivery import Assignment, Delivery, ReplayedDelivery
from mpsd.core.record import Record, TopicPartition
from mpsd.demo.guarantees import Guarantee
from mpsd.pipeline.control.blocks import BLOCKING
from mpsd.ports import DeadLetter
from tests.simulation.block_promises import (
    BlockedBeforeCommitted,
    BlockedKeysReleasedWhole,
    Entry,
    Holds,
    KeyOf,
    NothingOldBehindALiveRecord,
    NothingPastABlockedKey,
    OrderOverBlocks,
)


class BlockWitness:
    """The witness of blocked keys in one story.

    Attributes:
        guarantees: of a story whose keys are blocked.
        ever: keys that were blocked at some time.
        blocked: how often one was.
        released_by: who let one go the last time.
    """

    def __init__(self, group: str, subscription: str) -> None:
        self._book = BlockedKeyBook(group, subscription)
        self._holds = Holds()
        self._sends, self._commits = NothingPastABlockedKey(self._holds), BlockedBeforeCommitted()
        self._releases, self._order = BlockedKeysReleasedWhole(self._holds), OrderOverBlocks()
        self._once = NothingOldBehindALiveRecord()
        self.guarantees: Sequence[Guarantee] = [self._sends, self._commits, self._releases, self._order, self._once]
        self.ever: set[KeyOf] = set()
        self.blocked = 0
        self.released_by = ""

    @property
    def released(self) -> int:
        """Return the number of keys that were released with nothing left."""
        return self._releases.released

    def assigned(self, assignment: Assignment, revision: int) -> float | None:
        """Return since when records of it are dead whose keys are not blocked, None if none: they are delivered again."""
        self._holds.assigned(assignment, revision)
        return self._commits.waits_since_s(assignment.tp)

    def replay(self, task: str, again: bool) -> None:
        """One is begun."""
        if again:
            self._once.again(task)

    def sent(self, delivery: Delivery, by: str, at_s: float) -> None:
        self._sends.on_sent(delivery, by, at_s)
        if isinstance(delivery, ReplayedDelivery):
            self._once.on_sent(delivery)

    def accepted(self, delivery: Delivery) -> None:
        if (at := KeyOf.of(delivery)) is None:
            return
        offset = delivery.record.offset
        self._releases.accepted(at, offset, delivery.assignment if delivery.releases else None)
        if delivery.releases and isinstance(delivery, ReplayedDelivery):
            self._once.accepted(at, delivery)
        if delivery.releases or not isinstance(delivery, ReplayedDelivery):
            self._order.accepted(at, offset)
            self._commits.over(at.tp, offset)

    def unanswered(self, delivery: Delivery) -> None:
        """Whoever made it is frozen and out of the group; it may take it for accepted when it thaws, as it is."""
        if (at := KeyOf.of(delivery)) is not None:
            self._releases.accepted(at, delivery.record.offset, None)

    def died(self, dead_letter: DeadLetter, dead_letter_offset: int, at_s: float) -> None:
        """Note an acknowledged dead letter whose writer still owns the partition."""
        delivery = dead_letter.delivery
        if (at := KeyOf.of(delivery)) is None:
            return
        self._releases.died(at, delivery.record.offset, dead_letter_offset, delivery.assignment)
        is_blocked = self._holds.entry(at, delivery.assignment) is not None
        if dead_letter.disposition in BLOCKING and not is_blocked and not isinstance(delivery, ReplayedDelivery):
            self._commits.died(at, delivery.record.offset, at_s)

    def removed(self, made: Record) -> None:
        """By retention."""
        self._commits.over(TopicPartition(made.topic, made.partition), made.offset)

    def recreated(self, tp: TopicPartition) -> None:
        """Note that a reset was applied."""
        self._commits.recreated(tp)
        self._order.recreated(tp)

    def committed(self, tp: TopicPartition, next_offset: int) -> None:
        self._commits.committed(tp, next_offset)

    def acknowledged(self, revisions: range) -> None:
        """Note the control records that their writer knows to be written."""
        self._holds.acknowledged.update(revisions)

    def decided(self, key: EntityKey, entity: Entity | None, owned: Collection[Assignment], by: str) -> str:
        """Note a control record about a key; return a description for the trace.

        Args:
            owned: by whoever wrote it.
            by: who that is.
        """
        place = self._book.on_entity(key, entity)
        assert place is not None, key
        at = KeyOf(*place)
        if entity is None:
            if self._releases.removed(at, owned):
                self._once.removed(at)
                self.released_by = by
            self._holds.entries.pop(at, None)
            return "free"
        epoch, blocked = entity.document["epoch"], self._book.of(at.tp)[at.key]
        self._holds.entries[at] = Entry(entity.revision, epoch, blocked)
        self._commits.blocked(at)
        self.ever.add(at)
        self.blocked += 1
        return f"epoch {epoch} dead letter {blocked.dead_letter_offset}"
