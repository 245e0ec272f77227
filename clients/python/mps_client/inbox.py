"""Records that wait for a worker, first come, first served.

The daemon has one record of a key out at a time, so order of arrival is all the order that there is to keep. One case
is left to the client: a stream is lost while a worker still runs one of its records. The daemon takes that delivery to
be over and delivers the record again, maybe to this process. The newcomer waits here until the worker is done.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice

from mps_client.record import Record

YIELD_EVERY = 32
"""Records that workers take in a row until the loop has its turn: settlements and leases must not wait for a handler that
never waits itself. A turn of the loop then costs each record a thirtieth of itself."""

Lane = tuple[str, int, bytes]


class Inbox:
    """Filled by streams, emptied by workers.

    Holds at most: what all streams have credit for.
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
        """True once no record is handed out any more."""
        return self._closed

    @property
    def is_starved(self) -> bool:
        """True if a worker would wait for a record."""
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
        """Their stream is over or ending: none of them is given out any more. Returns those that were not yet."""
        gone = set(records)
        kept = [record for record in self._records if record not in gone]
        withdrawn = gone.intersection(self._records)
        self._records = deque(kept)
        for lane, waiting in list(self._waiting.items()):
            withdrawn |= gone.intersection(waiting)
            self._waiting[lane] = deque(record for record in waiting if record not in gone)
        return withdrawn

    def hold_back(self, running: Iterable[Record]) -> None:
        """Workers still run these, and the daemon does not know: no other record of their keys may start."""
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
        """Hand out no more records, for this reason; idle workers end."""
        self._closed = True
        self.failure = self.failure or failure
        self._wake(len(self._idle))

    async def take(self) -> Record | None:
        """Return the next record, or None if the inbox is closed. A cancelled call has taken none."""
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
                with suppress(ValueError):  # whoever looked for an idle worker has thrown it out
                    self._idle.remove(waiter)
            else:
                self._wake(1)  # it was woken for a record that another must take
            raise

    def _wake_more(self) -> None:
        """One worker, and twice as many with each turn of the loop in which all that are awake wait for something else.

        So a handler that never waits is served by one worker, and nobody is woken in vain.
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
