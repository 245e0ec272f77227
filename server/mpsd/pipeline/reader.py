"""Read fetches of the broker into the PendingQueue."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from mpsd.core.delivery import Assignment
from mpsd.core.record import Record
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.pipeline.pending_queue import PendingQueue
from mpsd.ports import SYSTEM_CLOCK, Clock, RecordSource

log = logging.getLogger("mpsd.reader")

RECORDS_PER_FETCH_MAX = 500
WAIT_S = 0.1
"""Wait of a fetch for records, and longest delay until a partition that has room again is read."""
ERROR_REST_S = 1.0


class Reader:
    """A reader that polls steadily, whatever the application does, and asks only for partitions with room.

    Takes: fetches.
    Gives: records to the PendingQueue.
    Holds at most: the part of one fetch per partition that did not fit.
    """

    def __init__(
        self, source: RecordSource, pending: PendingQueue, subscription: str, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._source = source
        self._pending = pending
        self._subscription = subscription
        self._monotonic_s = clock.monotonic_s
        self._leftovers: dict[Assignment, tuple[Sequence[Record], int]] = {}
        self._room = asyncio.Event()
        self._stopping = False
        self._records = 0
        self._fetches = 0
        self.polled_at_s = self._monotonic_s()

    def on_room(self) -> None:
        """Read again a partition that was full."""
        self._room.set()

    def stop(self) -> None:
        """Read nothing more; `run` goes on keeping the membership alive until it is cancelled."""
        self._stopping = True

    def forget(self, assignment: Assignment) -> None:
        """Forget a partition that is no longer ours."""
        self._leftovers.pop(assignment, None)

    async def run(self) -> None:
        """Read until cancelled, which leaves nothing half-read: a fetch that was answered has been taken."""
        while True:
            self.polled_at_s = self._monotonic_s()
            self._offer_leftovers()
            wanted = [] if self._stopping else self._wanted()
            self._room.clear()
            try:
                if wanted:
                    await self._fetch(wanted)
                else:
                    await self._source.fetch((), 0, 0.0)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(WAIT_S):  # `wait_for` of Python 3.11 may swallow a cancellation
                            await self._room.wait()
            except (KafkaUnavailable, KafkaRefused) as error:
                log.warning(
                    "cannot read: %s; trying again",
                    error,
                    extra={"code": error.code, "subscription": self._subscription},
                )
                await asyncio.sleep(ERROR_REST_S)

    def _wanted(self) -> list[Assignment]:
        return [
            assignment
            for assignment, queue in self._pending.queues.items()
            if not queue.is_leaving and assignment not in self._leftovers and self._pending.has_room(queue)
        ]

    async def _fetch(self, wanted: Sequence[Assignment]) -> None:
        fetched = await self._source.fetch(wanted, RECORDS_PER_FETCH_MAX, WAIT_S)
        now_s = self._monotonic_s()
        self._fetches += bool(fetched)
        for assignment, (records, next_offset, high_watermark) in fetched.items():
            queue = self._pending.queues.get(assignment)
            if queue is None:
                continue
            queue.high_watermark = high_watermark
            queue.unreadable = ""
            self._records += len(records)
            taken = self._pending.add(queue, records, now_s)
            if taken < len(records):
                self._leftovers[assignment] = records[taken:], next_offset
            else:
                queue.tracker.read_to(next_offset)

    def _offer_leftovers(self) -> None:
        for assignment, (records, next_offset) in list(self._leftovers.items()):
            queue = self._pending.queues.get(assignment)
            if queue is None:
                del self._leftovers[assignment]
                continue
            taken = self._pending.add(queue, records, self._monotonic_s())
            if taken == len(records):
                del self._leftovers[assignment]
                queue.tracker.read_to(next_offset)
            elif taken:
                self._leftovers[assignment] = records[taken:], next_offset

    def statistics(self) -> dict[str, float]:
        return {
            "records": self._records,
            "fetches": self._fetches,
            "left_over": sum(len(records) for records, _ in self._leftovers.values()),
        }
