"""Sees what becomes of held keys, and tells the guarantees."""

from collections.abc import Collection, Sequence

from mpsd.core.control import Entity, EntityKey
from mpsd.core.delivery import Assignment, Delivery, ReplayedDelivery
from mpsd.core.held_keys import HeldBook
from mpsd.core.record import Record, TopicPartition
from mpsd.demo.guarantees import Guarantee
from mpsd.pipeline.held_keys import HOLDING
from mpsd.ports import DeadLetter
from tests.simulation.held_promises import (
    Entry,
    HeldBeforeCommitted,
    HeldKeysLetGoWhole,
    Holds,
    KeyOf,
    NothingOldBehindALiveRecord,
    NothingPastAHeldKey,
    OrderOverHolds,
)


class HeldWitness:
    """Of one story.

    Attributes:
        guarantees: of a story whose keys are held.
        ever: keys that were held at some time.
        held: how often one was.
        let_go_by: who let one go the last time.
    """

    def __init__(self, group: str, subscription: str) -> None:
        self._book = HeldBook(group, subscription)
        self._holds = Holds()
        self._sends, self._commits = NothingPastAHeldKey(self._holds), HeldBeforeCommitted()
        self._releases, self._order = HeldKeysLetGoWhole(self._holds), OrderOverHolds()
        self._once = NothingOldBehindALiveRecord()
        self.guarantees: Sequence[Guarantee] = [self._sends, self._commits, self._releases, self._order, self._once]
        self.ever: set[KeyOf] = set()
        self.held = 0
        self.let_go_by = ""

    @property
    def let_go(self) -> int:
        """How often one was, with nothing of it left."""
        return self._releases.let_go

    def assigned(self, assignment: Assignment, revision: int) -> float | None:
        """Returns since when records of it are dead whose keys are not held: they are delivered again. None: there are none."""
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

    def died(self, letter: DeadLetter, letter_offset: int, at_s: float) -> None:
        """It is acknowledged, and its partition still that of whoever wrote it."""
        delivery = letter.delivery
        if (at := KeyOf.of(delivery)) is None:
            return
        self._releases.died(at, delivery.record.offset, letter_offset, delivery.assignment)
        is_held = self._holds.entry(at, delivery.assignment) is not None
        if letter.disposition in HOLDING and not is_held and not isinstance(delivery, ReplayedDelivery):
            self._commits.died(at, delivery.record.offset, at_s)

    def removed(self, made: Record) -> None:
        """By retention."""
        self._commits.over(TopicPartition(made.topic, made.partition), made.offset)

    def begun_anew(self, tp: TopicPartition) -> None:
        """A reset was applied."""
        self._commits.begun_anew(tp)
        self._order.begun_anew(tp)

    def committed(self, tp: TopicPartition, next_offset: int) -> None:
        self._commits.committed(tp, next_offset)

    def acknowledged(self, revisions: range) -> None:
        """Of control records: their writer knows that they are written."""
        self._holds.acknowledged.update(revisions)

    def decided(self, key: EntityKey, entity: Entity | None, owned: Collection[Assignment], by: str) -> str:
        """The control topic says something of a key; returns it in words, for the trace.

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
                self.let_go_by = by
            self._holds.entries.pop(at, None)
            return "free"
        epoch, held = entity.document["epoch"], self._book.of(at.tp)[at.key]
        self._holds.entries[at] = Entry(entity.revision, epoch, held)
        self._commits.held(at)
        self.ever.add(at)
        self.held += 1
        return f"epoch {epoch} letter {held.letter}"
