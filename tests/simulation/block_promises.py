"""Promises about blocked keys as guarantees: see `mpsd.demo.guarantees`. The Witness calls them, not events.

Whether a key is blocked for an owner is judged by the control topic and the epoch: an entry holds for the owner that wrote it,
once it knows that it is written, and for every owner that was assigned later. One that a former owner wrote late is none of
the present owner's.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from typing_extensions import override

from mpsd.core.blocked_keys import BlockedKey
from mpsd.core.delivery import Assignment, Delivery, ReplayedDelivery
from mpsd.core.record import TopicPartition
from mpsd.demo.guarantees import Fault, Guarantee, RecordPosition


class KeyOf(NamedTuple):
    """A key of a partition."""

    tp: TopicPartition
    key: bytes

    @classmethod
    def of(cls, delivery: Delivery) -> "KeyOf | None":
        key = delivery.record.key
        return None if key is None else cls(delivery.assignment.tp, key)


class Entry(NamedTuple):
    """A blocked key's entry in the control topic: its revision, and the epoch that wrote it."""

    revision: int
    epoch: int
    blocked: BlockedKey


class Holds:
    """The entries of the control topic, and for which owners they hold.

    Attributes:
        acknowledged: revisions of which their writers know.
    """

    def __init__(self) -> None:
        self.entries: dict[KeyOf, Entry] = {}
        self.acknowledged: set[int] = set()
        self._assigned: dict[Assignment, int] = {}

    def assigned(self, assignment: Assignment, revision: int) -> None:
        """Note an assignment, and the revision of the last control record now."""
        self._assigned[assignment] = revision

    def entry(self, at: KeyOf, assignment: Assignment) -> Entry | None:
        """Return the entry that holds for this owner."""
        entry = self.entries.get(at)
        if entry is None:
            return None
        if entry.epoch == assignment.epoch and entry.revision in self.acknowledged:
            return entry
        return entry if entry.revision <= self._assigned.get(assignment, -1) else None


class NothingPastABlockedKey(Guarantee):
    """While a key is blocked, nothing of it is delivered but what its replay brings.

    Holds:   k1: 1 dies, blocked, replay 1( 1) free 2(      Breaks:  k1: 1 dies, blocked, 2(
    """

    promise = "nothing passes a blocked key"

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._faults: list[Fault] = []

    def on_sent(self, delivery: Delivery, by: str, at_s: float) -> None:
        """Note that a daemon hands a delivery to its adapter."""
        at = KeyOf.of(delivery)
        if at is None or delivery.releases:
            return
        if (entry := self._holds.entry(at, delivery.assignment)) is not None:
            said = (
                f"was sent by {by} at {at_s:.3f} s, though its key is blocked since control revision {entry.revision}"
            )
            self._faults.append(Fault(RecordPosition.of(delivery.record), said))

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults


class BlockedBeforeCommitted(Guarantee):
    """No commit passes a record that died before its key is blocked, so that no owner finds its key free.

    Holds:   1 dies, blocked, commit 2      Breaks:  1 dies, commit 2, blocked
    """

    promise = "a key is blocked before its record is committed"

    def __init__(self) -> None:
        self._waiting: defaultdict[TopicPartition, dict[int, tuple[bytes, float]]] = defaultdict(dict)
        self._faults: dict[RecordPosition, Fault] = {}

    def died(self, at: KeyOf, offset: int, at_s: float) -> None:
        """Note that a record's dead letter is acknowledged while its key is not blocked."""
        self._waiting[at.tp][offset] = at.key, at_s

    def waits_since_s(self, tp: TopicPartition) -> float | None:
        """Return when the first record died whose key is not blocked; None if there is none."""
        return min((at_s for _, at_s in self._waiting[tp].values()), default=None)

    def blocked(self, at: KeyOf) -> None:
        self._waiting[at.tp] = {offset: each for offset, each in self._waiting[at.tp].items() if each[0] != at.key}

    def over(self, tp: TopicPartition, offset: int) -> None:
        """Note that a record was accepted after all, or that retention removed it."""
        self._waiting[tp].pop(offset, None)

    def recreated(self, tp: TopicPartition) -> None:
        """Somebody has set the offset."""
        self._waiting[tp].clear()

    def committed(self, tp: TopicPartition, next_offset: int) -> None:
        for offset in [each for each in self._waiting[tp] if each < next_offset]:
            place = RecordPosition(tp.topic, tp.partition, offset)
            said = f"is dead, its key was not blocked, and {next_offset} was committed"
            self._faults.setdefault(place, Fault(place, said))

    @override
    def faults(self) -> Sequence[Fault]:
        return list(self._faults.values())


class BlockedKeysReleasedWhole(Guarantee):
    """A key is released once all that died of it was accepted; and in the end each is.

    What its replay has brought, and is read after that by the same owner, was brought for that reading, too.

    Holds:   1 2 dead, blocked, replay 1) 2) free      Breaks:  1 2 dead, blocked, replay 1) free · never free
    """

    promise = "a blocked key is released when nothing of it is left"

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._dead: defaultdict[KeyOf, dict[int, int]] = defaultdict(dict)
        self._brought: set[tuple[Assignment, int]] = set()
        self._faults: list[Fault] = []
        self.released = 0

    def died(self, at: KeyOf, offset: int, dead_letter: int, assignment: Assignment) -> None:
        """Note that a record died; `dead_letter` is the offset of its dead letter."""
        if (assignment, offset) not in self._brought:
            self._dead[at][offset] = dead_letter

    def accepted(self, at: KeyOf, offset: int, brought: Assignment | None) -> None:
        """Note an accepted record; `brought` is set if the replay that is to release the key delivered it."""
        self._dead[at].pop(offset, None)
        if brought is not None:
            self._brought.add((brought, offset))

    def removed(self, at: KeyOf, owned: Collection[Assignment]) -> bool:
        """Note that the entry is about to be removed; return True if that releases the key.

        Args:
            owned: by whoever removes it.
        """
        lets_go = False
        for assignment in owned:
            if assignment.tp == at.tp and (entry := self._holds.entry(at, assignment)) is not None:
                lets_go = True
                left = sorted(
                    offset
                    for offset, dead_letter in self._dead[at].items()
                    if dead_letter >= entry.blocked.dead_letter_offset
                )
                self.released += not left
                if left:
                    place = RecordPosition(at.tp.topic, at.tp.partition, left[0])
                    self._faults.append(Fault(place, f"is dead, and its key was released, with {len(left)} dead of it"))
        return lets_go

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults + [
            Fault(None, f"a key of {at.tp} is blocked since control revision {entry.revision}, and never released")
            for at, entry in self._holds.entries.items()
        ]


class OrderOverBlocks(Guarantee):
    """First acceptances of one key are in offset order, live or by the replay that releases it. A death breaks no order.

    Holds:   k1: 1) 2 dies 3 blocked, replay 2) 3) free 4)      Breaks:  k1: 1) 2 dies 3 blocked, replay 3) 2) · 2 dies 3)
    """

    promise = "a blocked key is accepted in order, over its replay"

    def __init__(self) -> None:
        self._accepted: set[RecordPosition] = set()
        self._last: dict[KeyOf, int] = {}
        self._faults: list[Fault] = []

    def accepted(self, at: KeyOf, offset: int) -> None:
        place = RecordPosition(at.tp.topic, at.tp.partition, offset)
        if place in self._accepted:
            return
        self._accepted.add(place)
        if offset < (last := self._last.get(at, -1)):
            self._faults.append(Fault(place, f"was accepted only after {last} of its key"))
        else:
            self._last[at] = offset

    def recreated(self, tp: TopicPartition) -> None:
        """Somebody has set the offset: what is delivered now may be behind what was."""
        self._last = {at: last for at, last in self._last.items() if at.tp != tp}

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults


class NothingOldBehindALiveRecord(Guarantee):
    """A record that a replay delivered before its key was released is delivered by no other replay, unless an operator asks.

    Holds:   blocked, replay 1) 2) free 3) kill      Breaks:  blocked, replay 1) 2) free 3) kill, replay 1(
    """

    promise = "what release a key does not come again"

    def __init__(self) -> None:
        self._brought: defaultdict[KeyOf, set[int]] = defaultdict(set)
        self._settled: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        self._again: set[str] = set()
        self._faults: list[Fault] = []

    def again(self, replay: str) -> None:
        """Let this replay deliver records again."""
        self._again.add(replay)

    def accepted(self, at: KeyOf, delivery: ReplayedDelivery) -> None:
        """By the replay that is to release the key."""
        self._brought[at].add(delivery.dead_letter_offset)

    def removed(self, at: KeyOf) -> None:
        """Note that the owner removed the entry."""
        self._settled[at.tp] |= self._brought.pop(at, set())

    def on_sent(self, delivery: ReplayedDelivery) -> None:
        if delivery.dead_letter_offset in self._settled[delivery.assignment.tp] and delivery.replay not in self._again:
            said = f"was sent by {delivery.replay}, though it was brought before its key was released"
            self._faults.append(Fault(RecordPosition.of(delivery.record), said))

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults
