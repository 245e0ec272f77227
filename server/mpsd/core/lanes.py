"""The lanes of one partition: the FIFO of each key, as a chain through the deliveries themselves.

A lane exists only as long as it holds something: `tails` has an entry per key with unsettled records, each delivery
points at the one behind it, and the head of a lane is in exactly one place: in `ready`, or in the hands of whoever took
it. So an empty lane costs nothing, and a lane with one record costs one entry of a dict.

    tails: {k1: c, k2: b}        ready: a, b        chain: a → c
    take() → a                   ready: b           k1's head is out: c cannot start
    settled(a)                   ready: b, c        k1's next may start
"""

from collections import deque
from collections.abc import Iterator

from typing_extensions import override

from mpsd.core.delivery import Delivery, Lane


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

    def put_back(self, delivery: Delivery) -> None:
        """Its lane may try it again, before heads that became ready later: an older record must not queue behind newer."""
        self.ready.appendleft(delivery)

    def settled(self, delivery: Delivery) -> None:
        """The head is finished: the next of its lane becomes ready, or the lane is gone."""
        follower = delivery.next
        if follower is not None:
            delivery.next = None
            self.ready.append(follower)
        elif delivery.lane is not None:
            del self.tails[delivery.lane]

    def __len__(self) -> int:
        """Lanes that hold something, free deliveries not counted."""
        return len(self.tails)

    @override
    def __repr__(self) -> str:
        return f"<Lanes lanes={len(self.tails)} ready={len(self.ready)}>"


def chain(head: Delivery) -> Iterator[Delivery]:
    """The head of a lane and all behind it, in order."""
    at: Delivery | None = head
    while at is not None:
        yield at
        at = at.next
