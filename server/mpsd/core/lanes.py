"""The lanes of one partition: the FIFO of each key, as a chain through the deliveries themselves.

A lane exists only as long as it holds something: `tails` has an entry per key with unsettled records, each delivery
points at the one behind it, and the head of a lane is in exactly one place: in `ready`, or in the hands of whoever took
it. So an empty lane costs nothing, and a lane with one record costs one entry of a dict.

    tails: {k1: c, k2: b}        ready: a, b        chain: a → c
    take() → a                   ready: b           k1's head is out: c cannot start
    settled(a)                   ready: b, c        k1's next may start

Where a batch may carry several of one lane, `take_run` hands out those behind a head that was taken. They are settled in
the order of the lane. Once a head is finished, the one behind it is the head, handed out or not. One that comes back
behind its head just waits in the chain again. One may be finished behind its head only where the head's dead letter is
still to be acknowledged: it stays in the chain until then.
"""

from collections import deque
from collections.abc import Iterator

from typing_extensions import override

from mpsd.core.delivery import BEHIND, FINISHED, HEAD, Delivery, Lane


class Lanes:
    """Orders deliveries by lane.

    Takes: deliveries in offset order.
    Gives: heads of lanes, each once until it is settled or put back.
    Holds at most: what its caller adds; bounds are the PendingQueue's.
    """

    __slots__ = ("ready", "tails")

    def __init__(self) -> None:
        self.ready: deque[Delivery] = deque()
        self.tails: dict[Lane, Delivery] = {}

    def add(self, delivery: Delivery) -> None:
        """Append to its lane; a free delivery (lane None) is a lane of its own."""
        lane = delivery.lane
        if lane is None:
            self.ready.append(delivery)
            return
        tail = self.tails.get(lane)
        self.tails[lane] = delivery
        if tail is None:
            self.ready.append(delivery)
        else:
            tail.next = delivery

    def take(self) -> Delivery:
        """The head that has been ready longest; its lane gives nothing until `settled` or `put_back`.

        Raises:
            IndexError: nothing is ready.
        """
        return self.ready.popleft()

    def take_newest(self) -> Delivery:
        """Return the head that became ready last: what comes back from a back-off stands at the other end.

        Raises:
            IndexError: nothing is ready.
        """
        return self.ready.pop()

    def take_run(self, head: Delivery, records_max: int) -> list[Delivery]:
        """Up to so many behind a head that was taken, in order; none at or behind one that failed on its own before."""
        run: list[Delivery] = []
        at = head.next
        while at is not None and len(run) < records_max and at.place is HEAD and not has_failed(at):
            at.place = BEHIND
            run.append(at)
            at = at.next
        return run

    def put_back(self, delivery: Delivery) -> None:
        """Its lane may try it again, before heads that became ready later: an older record must not queue behind newer."""
        if delivery.place:
            delivery.place = HEAD
        else:
            self.ready.appendleft(delivery)

    def settled(self, delivery: Delivery) -> None:
        """It is finished: if it was the head, the next of its lane becomes ready, or the lane is gone."""
        if delivery.place:
            delivery.place = FINISHED
            return
        follower = delivery.next
        if follower is None:
            if delivery.lane is not None:
                del self.tails[delivery.lane]
        elif follower.place:
            self._advance(delivery)
        else:
            delivery.next = None
            self.ready.append(follower)

    def _advance(self, delivery: Delivery) -> None:
        """Those behind it were handed out with it, and may be finished too: the first that is not is the head now."""
        lane, at = delivery.lane, delivery.next
        delivery.next = None
        while at is not None and at.place is FINISHED:
            at.next, at = None, at.next
        if at is None:
            assert lane is not None
            del self.tails[lane]
        elif at.place:
            at.place = HEAD
        else:
            self.ready.append(at)

    def detach(self, before: Delivery, delivery: Delivery) -> bool:
        """Take one that stands behind another out of its lane: it is free from now on. False if it was handed out."""
        if delivery.place:
            return False
        before.next, delivery.next = delivery.next, None
        if before.next is None:
            assert delivery.lane is not None
            self.tails[delivery.lane] = before
        delivery.lane = None
        return True

    def __len__(self) -> int:
        """Lanes that hold something, free deliveries not counted."""
        return len(self.tails)

    @override
    def __repr__(self) -> str:
        return f"<Lanes lanes={len(self.tails)} ready={len(self.ready)}>"


def has_failed(delivery: Delivery) -> bool:
    """Whether an earlier delivery of it failed; one that was taken back did not."""
    return delivery.failures is not None and delivery.failures.last is not None


def chain(head: Delivery) -> Iterator[Delivery]:
    """The head of a lane and all behind it, in order."""
    at: Delivery | None = head
    while at is not None:
        yield at
        at = at.next
