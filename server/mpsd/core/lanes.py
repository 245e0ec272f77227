"""The lanes of one partition: the FIFO of each key, as a chain through the deliveries themselves.

A lane exists only as long as it holds something: `tails` has an entry per key with unsettled records, and each delivery
points at the one behind it. So an empty lane costs nothing, and a lane with one record costs one entry of a dict.

    tails: {k1: c, k2: b}        ready: a, b        chain: a → c
    take() → a                   ready: b           k1's head is out: c cannot start
    settled(a)                   ready: b, c        k1's next may start

"One in flight per key" rests on this: a delivery has one seat at a time, and `ready`, `paused`, the back-off heap, the
suspects, the lost window and the DeadLetterWriter are indices of the seats. TRANSITIONS is the whole state machine; `move`
is its only interpreter, but for three transitions of the hot path that this module makes itself. A transition that is not
in the table is a bug, and raises an AssertionError that names the seat and the event.

    WAITING ──▶ READY ◀──▶ PAUSED
                │   ▲
                ▼   │
            IN_FLIGHT ──▶ LOST ──▶ all that IN_FLIGHT leads to, but SETTLED
                │ └─▶ BACK_OFF ──▶ READY or SUSPECT
                ├───▶ SUSPECT ──▶ IN_FLIGHT
                ├───▶ DEAD_LETTERING ◀──▶ KEYS_FULL
                ▼          │
             SETTLED ◀─────┘

A skip takes a delivery from every seat in which nobody has it in hand straight to DEAD_LETTERING; one that is in flight or
lost is skipped when it comes back.

Where a batch may carry several of one lane, `take_run` hands out those behind a head that was taken. They are settled in
the order of the lane. Once a head is finished, the one behind it is the head, handed out or not. One that comes back
behind its head waits in the chain again. One may be finished behind its head only where the head's dead letter is still to
be acknowledged: it stays in the chain until then.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum

from typing_extensions import override

from mpsd.core.delivery import IN_FLIGHT, READY, SETTLED, WAITING, Delivery, Lane, Seat


class Event(StrEnum):
    """A cause for which a delivery changes its seat."""

    ADVANCE = "becomes the head of its lane"
    TAKE = "is handed out"
    PAUSE = "is of a paused key"
    PUT_BACK = "may be delivered again"
    RETURN = "comes back behind its head"
    LOSE = "is lost"
    BACK_OFF = "backs off"
    SUSPECT = "is a suspect"
    DEAD_LETTER = "is dead-lettered"
    SKIP = "is skipped"
    KEYS_FULL = "has no room to block its key"
    KEYS_ROOM = "has room to block its key"
    FINISH = "is finished"


TRANSITIONS: Mapping[Event, Mapping[Seat, Seat]] = {
    Event.ADVANCE: {WAITING: READY},
    Event.TAKE: {READY: IN_FLIGHT, WAITING: IN_FLIGHT, Seat.SUSPECT: IN_FLIGHT},
    Event.PAUSE: {READY: Seat.PAUSED},
    Event.PUT_BACK: {IN_FLIGHT: READY, Seat.BACK_OFF: READY, Seat.LOST: READY, Seat.PAUSED: READY},
    Event.RETURN: {IN_FLIGHT: WAITING, Seat.BACK_OFF: WAITING, Seat.LOST: WAITING},
    Event.LOSE: {IN_FLIGHT: Seat.LOST},
    Event.BACK_OFF: {IN_FLIGHT: Seat.BACK_OFF, Seat.LOST: Seat.BACK_OFF},
    Event.SUSPECT: {IN_FLIGHT: Seat.SUSPECT, Seat.LOST: Seat.SUSPECT, Seat.BACK_OFF: Seat.SUSPECT},
    Event.DEAD_LETTER: {IN_FLIGHT: Seat.DEAD_LETTERING, Seat.LOST: Seat.DEAD_LETTERING},
    Event.SKIP: dict.fromkeys((WAITING, READY, Seat.PAUSED, Seat.BACK_OFF, Seat.SUSPECT), Seat.DEAD_LETTERING),
    Event.KEYS_FULL: {Seat.DEAD_LETTERING: Seat.KEYS_FULL},
    Event.KEYS_ROOM: {Seat.KEYS_FULL: Seat.DEAD_LETTERING},
    Event.FINISH: {IN_FLIGHT: SETTLED, Seat.DEAD_LETTERING: SETTLED},
}


def move(delivery: Delivery, event: Event) -> None:
    """Give the delivery the seat that follows the event.

    Raises:
        AssertionError: the event has no transition from its seat.
    """
    seat = TRANSITIONS[event].get(delivery.seat)
    assert seat is not None, f"{delivery} {event.value} while it is {delivery.seat.value}"
    delivery.seat = seat


class Lanes:
    """Orders deliveries by lane.

    Takes: deliveries in offset order.
    Gives: heads of lanes, each once until it is settled or put back.
    Holds at most: what its caller adds; bounds are the PendingQueue's.

    Attributes:
        ready: the heads that may be delivered, the next first.
        paused: heads that were next, but are of a paused key, the first that was paused first.
        tails: the last record of each lane.
    """

    __slots__ = ("paused", "ready", "tails")

    def __init__(self) -> None:
        self.ready: deque[Delivery] = deque()
        self.paused: list[Delivery] = []
        self.tails: dict[Lane, Delivery] = {}

    def add(self, delivery: Delivery) -> None:
        """Append a delivery to its lane; a free delivery (lane None) is a lane of its own."""
        lane = delivery.lane
        if lane is not None:
            tail = self.tails.get(lane)
            self.tails[lane] = delivery
            if tail is not None:
                tail.next = delivery
                return
        delivery.seat = READY
        self.ready.append(delivery)

    def take(self) -> Delivery:
        """Return the head that has been ready longest; its lane gives nothing until `settled` or `put_back`.

        Raises:
            IndexError: nothing is ready.
        """
        delivery = self.ready.popleft()
        delivery.seat = IN_FLIGHT
        return delivery

    def take_newest(self) -> Delivery:
        """Return the head that became ready last: heads that come back from a back-off stand at the other end.

        Raises:
            IndexError: nothing is ready.
        """
        delivery = self.ready.pop()
        delivery.seat = IN_FLIGHT
        return delivery

    def take_run(self, head: Delivery, records_max: int) -> list[Delivery]:
        """Return up to so many behind a head that was taken, in order; none at or behind one that failed on its own before."""
        run: list[Delivery] = []
        at = head.next
        while at is not None and len(run) < records_max and at.seat is WAITING and not has_failed(at):
            at.seat = IN_FLIGHT
            at.is_behind = True
            run.append(at)
            at = at.next
        return run

    def pause(self, delivery: Delivery) -> None:
        """Keep a head that is ready from being taken until `resume`."""
        self.ready.remove(delivery)
        move(delivery, Event.PAUSE)
        self.paused.append(delivery)

    def resume(self, paused_keys: Collection[bytes | None]) -> None:
        """Put back the paused heads of all keys but these."""
        paused, self.paused = self.paused, []
        for delivery in reversed(paused):  # each is put before all others: the first that was paused is the first again
            if delivery.record.key in paused_keys:
                self.paused.insert(0, delivery)
            else:
                self.put_back(delivery)

    def put_back(self, delivery: Delivery) -> None:
        """Let a lane deliver its head again, before heads that became ready later.

        An older record must not queue behind newer ones.
        """
        if delivery.is_behind:
            move(delivery, Event.RETURN)
            delivery.is_behind = False
        else:
            move(delivery, Event.PUT_BACK)
            self.ready.appendleft(delivery)

    def settled(self, delivery: Delivery) -> None:
        """Finish a delivery: if it was the head, the next of its lane becomes ready, or the lane is gone."""
        if delivery.seat is IN_FLIGHT:
            delivery.seat = SETTLED
        else:
            move(delivery, Event.FINISH)
        if delivery.is_behind:
            return
        follower = delivery.next
        if follower is None:
            if delivery.lane is not None:
                del self.tails[delivery.lane]
        elif follower.seat is WAITING:
            delivery.next = None
            follower.seat = READY
            self.ready.append(follower)
        else:
            self._advance(delivery)

    def _advance(self, delivery: Delivery) -> None:
        """Make the first that is not settled the head; those behind the delivery were handed out with it."""
        lane, at = delivery.lane, delivery.next
        delivery.next = None
        while at is not None and at.seat is SETTLED:
            at.next, at = None, at.next
        if at is None:
            assert lane is not None
            del self.tails[lane]
        elif at.seat is WAITING:
            move(at, Event.ADVANCE)
            self.ready.append(at)
        else:
            at.is_behind = False

    def withdraw(self, delivery: Delivery, before: Delivery | None) -> None:
        """Take a delivery that is ready, paused or waiting out of its index, so that it can be skipped.

        One that waits leaves its lane: it is free from now on.

        Args:
            before: the delivery in front of one that waits.
        """
        if delivery.seat is READY:
            self.ready.remove(delivery)
        elif delivery.seat is Seat.PAUSED:
            self.paused.remove(delivery)
        else:
            assert before is not None, f"{delivery} {Event.SKIP.value} while it is {delivery.seat.value}"
            before.next, delivery.next = delivery.next, None
            if before.next is None:
                assert delivery.lane is not None
                self.tails[delivery.lane] = before
            delivery.lane = None

    def __len__(self) -> int:
        """Return the number of lanes that hold something, free deliveries not counted."""
        return len(self.tails)

    @override
    def __repr__(self) -> str:
        return f"<Lanes lanes={len(self.tails)} ready={len(self.ready)}>"


def has_failed(delivery: Delivery) -> bool:
    """Return True if an earlier delivery of the record failed; one that was taken back did not."""
    return delivery.failures is not None and delivery.failures.last is not None


def chain(head: Delivery) -> Iterator[Delivery]:
    """Yield the head of a lane and all behind it, in order."""
    at: Delivery | None = head
    while at is not None:
        yield at
        at = at.next


def predecessor(delivery: Delivery, candidates: Iterable[Delivery]) -> Delivery | None:
    """Return the one that the delivery stands behind in its lane; None if it stands behind none of the candidates.

    Costs a look at all candidates.

    Args:
        candidates: unsettled deliveries; settled ones that are still in the lane are found by way of them.
    """
    for each in candidates:
        at = each
        while at.next is not None and at.next.seat is SETTLED:
            at = at.next
        if at.next is delivery:
            return at
    return None
