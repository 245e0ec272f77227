"""The choice of a stream for the next records: the one with the most free credit, and of equal ones the longest waiting."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from mpsd.delivery.stream.session import Session

_Entry = tuple[int, int, Session]


class Spread:
    """The streams of a subscription by their free credit.

    A heap with entries that may be out of date: `count` pushes a new one, and an old one is passed over when it comes up.
    So nothing is done per record, and little per batch.

    Holds at most: twice as many entries as there are streams, and 64.
    """

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._takers: set[Session] = set()
        self._served = 0
        self.free = 0

    def join(self, session: Session) -> None:
        """Add a stream; `count` follows, with its credit."""
        self._served += 1
        session.served = self._served

    def bytes_free(self) -> int:
        """Return the bytes that the streams with free credit take."""
        return sum(session.bytes_free for session in self._takers)

    def count(self, session: Session) -> None:
        """Count the credit of a stream again; call it after each change."""
        free = session.takes()
        if free == session.free:
            return
        self.free += free - session.free
        session.free = free
        if free:
            self._takers.add(session)
            self._push(session)
        else:
            self._takers.discard(session)

    def shares(self, records: int) -> Iterator[tuple[Session, int]]:
        """Yield streams with the number of records for each; assign them and `count` before the next one.

        It ends early where records take more bytes than those streams that have credit left are free to take.

        Args:
            records: at most `free`.
        """
        turn = -(-records // max(1, len(self._takers)))
        while records and self._takers:
            session = self._pop()
            ahead = session.free - self._next_free()
            share = 1 if session.is_limited_in_bytes else min(records, session.free, max(turn, ahead))
            records -= share
            self._served += 1
            session.served = self._served
            yield session, share

    def _pop(self) -> Session:
        """Remove and return the first stream; `count` puts it back."""
        while True:
            free, served, session = heappop(self._heap)
            if self._is_current(free, served, session):
                return session

    def _next_free(self) -> int:
        while self._heap and not self._is_current(*self._heap[0]):
            heappop(self._heap)
        return -self._heap[0][0] if self._heap else 0

    @staticmethod
    def _is_current(free: int, served: int, session: Session) -> bool:
        return session.free == -free and session.served == served

    def _push(self, session: Session) -> None:
        heap = self._heap
        if len(heap) > 2 * len(self._takers) + 64:
            heap[:] = [(-each.free, each.served, each) for each in self._takers]
            heapify(heap)
        else:
            heappush(heap, (-session.free, session.served, session))
