"""The dead letters of blocked keys, read and sent one at a time."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress

from mpsd.core.blocked_key_dead_letters import Place
from mpsd.core.dead_letter_record import DeadLetterRecord, source_of
from mpsd.core.delivery import ReplayedDelivery, Seat
from mpsd.core.record import LogBounds, Record
from mpsd.core.retry import Disposition
from mpsd.pipeline.dead_letter_scan import DeadLetterScan
from mpsd.pipeline.replay_sender import ReplaySender

PATIENCE_S = 5.0
"""Time that the other keys wait for a record that is not at the application."""


class BlockedKeySender:
    """A sender of the dead letters that a round has found, those of each key in order.

    Takes: places of dead letters.
    Gives: their records to the lanes of the partition, the next of a key once the last is accepted.
    Holds at most: a fetch for each key that is sent; of each key the last that was accepted, and one that is out.

    Attributes:
        out: by key, a record that nobody waits for: it is of a paused key, or backs off.
    """

    def __init__(self, sender: ReplaySender, begins: Mapping[bytes, int]) -> None:
        """Begin.

        Args:
            begins: by key, where its dead letters begin.
        """
        self._sender = sender
        self._task, self._queue, self._means = sender.task, sender.queue, sender.means
        self._source, self._number = sender.source, sender.number
        self._settled, self._counts = sender.settled, sender.counts
        self._begins = begins
        self._last: dict[bytes, tuple[int, int, int]] = {}
        self.out: dict[bytes, ReplayedDelivery] = {}

    async def send(self, key: bytes, places: list[Place]) -> str:
        """Send dead letters until all are accepted, one fails or one is out; return why one failed, empty if none did."""
        read: dict[int, DeadLetterRecord] = {}
        wanted = {place.dead_letter for place in places}
        end = max(wanted, default=0) + 1
        for place in places:
            if place.dead_letter not in read:
                read = await self._read(key, LogBounds(place.dead_letter, end), wanted)
            dead_letter = read.pop(place.dead_letter, None)
            if dead_letter is None:  # retention was faster
                self._counts.expired += 1
                continue
            record = dead_letter.source_offset, dead_letter.timestamp, hash(dead_letter.value)
            if self._last.get(key) == record:  # a copy: its owner was killed before it committed
                self._settled.add(place.dead_letter)
                self._sender.touch()
                continue
            finished = asyncio.Event()

            def on_finished(delivery: ReplayedDelivery, finished: asyncio.Event = finished) -> None:
                self._sender.finished(delivery)
                finished.set()

            delivery = self._sender.revive(dead_letter, on_finished, releases=True)
            if not await self._sender.has_room(delivery.size_bytes):
                return "it was ended"
            if place.dead_letter in self._settled:  # an operator skipped it meanwhile
                self._sender.give_back()
                continue
            self._counts.matched += 1
            self._counts.sent += 1
            self._means.pending.inject(self._queue, delivery)
            if not await self._ended(delivery, finished):
                self.out[key] = delivery
                self._means.pending.take_in(self._queue, key)
                return ""
            if delivery.is_dead_again:
                return f"{delivery} failed again"
            self._last[key] = record
        return ""

    def back(self) -> dict[bytes, str]:
        """Return the keys whose records were out and are settled now, and why each cannot go on; empty if it can."""
        ended = {key: each for key, each in self.out.items() if each.dead_letter_offset in self._settled}
        for key in ended:
            del self.out[key]
        return {key: f"{each} failed again" if each.is_dead_again else "" for key, each in ended.items()}

    def scan(self, bounds: LogBounds, keys: Collection[bytes]) -> DeadLetterScan:
        """Return a scan of the dead letters of some keys that are to be sent."""

        def select(record: Record) -> bool:
            key = record.key
            is_its = key is not None and key in keys and record.offset >= self._begins.get(key, bounds.end)
            return is_its and source_of(record) == self._source

        return DeadLetterScan(self._means.log, self._number, bounds, {self._task.subscription}, select)

    def is_wanted(self, dead_letter: DeadLetterRecord) -> bool:
        """Return False if an operator gave the dead letter up, and the task does not ask for such."""
        return (
            dead_letter.disposition is not Disposition.SKIPPED
            or Disposition.SKIPPED in self._task.plan.filter.dispositions
        )

    async def _ended(self, delivery: ReplayedDelivery, finished: asyncio.Event) -> bool:
        while not finished.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await finished.wait()
            if not finished.is_set() and delivery.seat is not Seat.IN_FLIGHT:
                return False
        return True

    async def _read(self, key: bytes, bounds: LogBounds, wanted: Collection[int]) -> dict[int, DeadLetterRecord]:
        """Return the dead letter at the start of the bounds, and the wanted ones that came with the same fetch."""
        async for part in self.scan(bounds, {key}):
            if part.next_offset > bounds.start or self._sender.is_ending:
                found = (dead_letter for dead_letter in part.dead_letters if dead_letter.offset in wanted)
                return {dead_letter.offset: dead_letter for dead_letter in found if self.is_wanted(dead_letter)}
        return {}
