"""The dead letters of blocked keys, read and sent one at a time."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import TypeGuard

from mpsd.core.blocked_key_dead_letters import Place
from mpsd.core.dead_letter_record import DeadLetterRecord, Foreign, parse
from mpsd.core.delivery import ReplayedDelivery, Seat
from mpsd.core.record import LogPart, Record
from mpsd.core.retry import Disposition
from mpsd.errors import KafkaUnavailable
from mpsd.pipeline.replay_sender import RECORDS_PER_FETCH_MAX, ReplaySender

SILENCE_MAX = 20
"""So many empty answers in a row, and the broker is taken for out of reach."""
PATIENCE_S = 5.0
"""How long the other keys wait for a record that is not at the application."""


class BlockedKeySender:
    """Sends what a round has found of a key, in order.

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
        """Until all of them are accepted, or one is out; returns why it went no further, in words; empty if nothing failed."""
        read: dict[int, DeadLetterRecord] = {}
        wanted = {place.dead_letter for place in places}
        for place in places:
            if place.dead_letter not in read:
                read = await self._read(place.dead_letter, wanted)
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
        """Those that were out and are settled now: by key why it goes no further, empty if it does."""
        ended = {key: each for key, each in self.out.items() if each.dead_letter_offset in self._settled}
        for key in ended:
            del self.out[key]
        return {key: f"{each} failed again" if each.is_dead_again else "" for key, each in ended.items()}

    async def fetch(self, offset: int) -> LogPart:
        """What stands there and behind it.

        Raises:
            DeadLetterTopicGone, KafkaUnavailable, KafkaRefused: see `DeadLetterLog`.
        """
        for _ in range(SILENCE_MAX):
            part = await self._means.log.fetch(self._number, offset, RECORDS_PER_FETCH_MAX)
            if part.next_offset > offset or self._sender.is_ending:
                return part
        raise KafkaUnavailable(f"partition {self._number} of {self._means.topic} has no answer at {offset}")

    def is_its(self, dead_letter: DeadLetterRecord | Foreign) -> TypeGuard[DeadLetterRecord]:
        """Whether it is a dead letter of a key that is replayed, and to be sent with it."""
        if not isinstance(dead_letter, DeadLetterRecord) or dead_letter.key is None:
            return False
        wanted = self._task.plan.filter.dispositions
        if dead_letter.disposition is Disposition.SKIPPED and Disposition.SKIPPED not in wanted:  # it was given up
            return False
        begin = self._begins.get(dead_letter.key)
        is_its = (dead_letter.source, dead_letter.subscription) == (self._source, self._task.subscription)
        return is_its and begin is not None and dead_letter.offset >= begin

    async def _ended(self, delivery: ReplayedDelivery, finished: asyncio.Event) -> bool:
        while not finished.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await finished.wait()
            if not finished.is_set() and delivery.seat is not Seat.IN_FLIGHT:
                return False
        return True

    async def _read(self, offset: int, wanted: Collection[int]) -> dict[int, DeadLetterRecord]:
        """The dead letter at the offset, and what else the fetch brings of those that are wanted."""
        end, at = offset + 1, offset
        records: Iterable[Record] = ()
        while at < end and not records and not self._sender.is_ending:
            part = await self.fetch(at)
            records, at = part.records, part.next_offset
        dead_letters = [parse(record) for record in records if record.offset in wanted]
        return {dead_letter.offset: dead_letter for dead_letter in dead_letters if self.is_its(dead_letter)}
