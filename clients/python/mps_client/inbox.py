"""Records that wait for a worker, first come, first served.

The daemon delivers one record of a key at a time, so that the order of arrival keeps the order of each key. The client has
to add one thing: if a stream is lost while a worker processes one of its records, the daemon delivers the record again,
maybe to this process. The repeated record then waits here until the worker has finished.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice

from mps_client.record import Record

YIELD_EVERY = 32
"""Number of records that workers take in a row before the event loop runs other tasks, because settlements and leases must
not wait for a handler that never waits. The cost of a turn of the loop is shared by as many records."""

Lane = tuple[str, int, bytes]


class Inbox:
    """The queue between streams and workers.

    Holds at most: the credit of all streams.
    """

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._busy_lanes: dict[Lane, int] = {}
        self._waiting: dict[Lane, deque[Record]] = {}
        self._since_yield = 0
        self._yielding = 0
        self._is_waking = False
        self._burst = 1
        self._closed = False
        self.failure: Exception | None = None

    def __len__(self) -> int:
        return len(self._records) + sum(map(len, self._waiting.values()))

    def __repr__(self) -> str:
        return f"<Inbox records={len(self)} idle={len(self._idle)} lanes held back={len(self._busy_lanes)}>"

    @property
    def is_closed(self) -> bool:
        """True if the inbox returns no more records."""
        return self._closed

    @property
    def is_starved(self) -> bool:
        """True if a worker would have to wait for a record."""
        return not self._records

    def put(self, records: list[Record]) -> None:
        """Queue the records of one frame, in its order."""
        if self._busy_lanes:
            records = [record for record in records if not self._waits_for_key(record)]
        self._records.extend(records)
        if not self._is_waking:
            self._is_waking, self._burst = True, 1
            self._wake_more()

    def withdraw(self, records: Iterable[Record]) -> set[Record]:
        """Remove the records of a stream that ends, and return those that no worker has taken."""
        ended = set(records)
        kept = [record for record in self._records if record not in ended]
        withdrawn = ended.intersection(self._records)
        self._records = deque(kept)
        for lane, waiting in list(self._waiting.items()):
            withdrawn |= ended.intersection(waiting)
            self._waiting[lane] = deque(record for record in waiting if record not in ended)
        return withdrawn

    def hold_back(self, running: Iterable[Record]) -> None:
        """Let other records of these keys wait, because workers still process these records after the end of their stream."""
        for lane in filter(None, map(lane_of, running)):
            self._busy_lanes[lane] = self._busy_lanes.get(lane, 0) + 1

    def release_key(self, record: Record) -> None:
        """Release the key of a record that a worker has finished."""
        lane = lane_of(record)
        if lane is None or lane not in self._busy_lanes:
            return
        self._busy_lanes[lane] -= 1
        if not self._busy_lanes[lane]:
            del self._busy_lanes[lane]
            self.put(list(self._waiting.pop(lane, ())))

    def close(self, failure: Exception | None = None) -> None:
        """Return no more records, and end idle workers."""
        self._closed = True
        self.failure = self.failure or failure
        self._wake(len(self._idle))

    async def take(self) -> Record | None:
        """Return the next record, or None if the inbox is closed. A cancelled call takes no record."""
        self._since_yield += 1
        if self._since_yield >= YIELD_EVERY:
            self._since_yield = 0
            self._yielding += 1
            try:
                await asyncio.sleep(0)
            finally:
                self._yielding -= 1
        while not self._closed:
            if self._records:
                return self._records.popleft()
            await self._filled()
        return None

    async def _filled(self) -> None:
        self._since_yield = 0
        waiter = asyncio.get_running_loop().create_future()
        self._idle.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):  # a search for an idle worker has removed it
                    self._idle.remove(waiter)
            else:
                self._wake(1)  # it was woken for a record that another worker must take
            raise

    def _wake_more(self) -> None:
        """Wake one worker, and twice as many in each turn of the loop in which all awake workers wait.

        So one worker serves a handler that never waits, and no worker is woken for nothing.
        """
        if not self._records or not self._idle:
            self._is_waking = False
            return
        if not self._yielding:
            self._wake(min(self._burst, len(self._records)))
            self._burst *= 2
        asyncio.get_running_loop().call_soon(self._wake_more)

    def _wake(self, count: int) -> None:
        for waiter in islice(iter(self._next_idle, None), count):
            waiter.set_result(None)

    def _next_idle(self) -> asyncio.Future[None] | None:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                return waiter
        return None

    def _waits_for_key(self, record: Record) -> bool:
        lane = lane_of(record)
        if lane is None or lane not in self._busy_lanes:
            return False
        self._waiting.setdefault(lane, deque()).append(record)
        return True


def lane_of(record: Record) -> Lane | None:
    """Return the lane within which records stay in order; None if the record has no key."""
    return None if record.key is None else (record.topic, record.partition, record.key)
