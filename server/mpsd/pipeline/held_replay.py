"""Held keys, replayed: each whole, in the order of its partition, up to the live end; then it is let go.

A key's dead letters are not in order in the dead-letter topic: one that failed again stands behind what was held since. So
they are looked up first, and sent in the order of their source offsets, the next once the last is accepted. What is read of
the key meanwhile goes on into the dead-letter topic, round after round, until little is left. Then what is read of it waits
beside its lane, what the lane still has goes its way, the rest is sent, and the key is released.

    round 1   [dead letters, as of now]          live records → dead-letter topic
    round 2   [those that came meanwhile]        live records wait
              lane empty → the last of them → released → live records
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeGuard

from mpsd.core.dead_letter_record import DeadLetterRecord, Foreign, parse
from mpsd.core.delivery import ReplayedDelivery
from mpsd.core.held_letters import HeldLetters, Place
from mpsd.core.offset_set import OffsetSet
from mpsd.core.record import LogBounds, Record
from mpsd.core.replay import ReplayTask
from mpsd.core.replay_progress import Counts
from mpsd.core.retry import Disposition
from mpsd.errors import ControlUnavailable, DeadLetterTopicGone, KafkaRefused, KafkaUnavailable
from mpsd.pipeline.pending_queue import PartitionQueue
from mpsd.pipeline.replay_sender import ERROR_REST_S, LOOK_S, RECORDS_PER_FETCH_MAX, Means, ReplaySender

log = logging.getLogger("mpsd.replay")

KEYS_AT_ONCE = 16
"""Keys of a partition that are replayed at a time, each with what one fetch brought of it."""
LETTERS_MAX = 100_000
"""Dead letters of a partition that are sent in a round, in equal shares for its keys; twice as many are about 40 MiB."""
FEW = 100
"""So many letters of a key, and the rest of them is sent while its records wait."""
DRAIN_S = 5.0
"""How long the lane of a key may take to become empty before its records go into the dead-letter topic again."""


class HeldReplay:
    """Replays those held keys of which a task means a letter.

    Takes: dead letters of its source partition.
    Gives: their records to the lanes of the partition, one of a key at a time; keys to be released to HeldKeys.
    Holds at most: the places of twice `LETTERS_MAX` letters, `KEYS_AT_ONCE` fetches.
    """

    def __init__(
        self,
        task: ReplayTask,
        queue: PartitionQueue,
        settled: OffsetSet,
        counts: Counts,
        sender: ReplaySender,
        means: Means,
        touch: Callable[[], None],
    ) -> None:
        """Begin.

        Args:
            settled, counts: of the run; added to.
            touch: they have changed.
        """
        self._task = task
        self._queue = queue
        self._source = queue.assignment.tp
        self._number = task.dead_letter_partition(self._source)
        self._settled = settled
        self._counts = counts
        self._sender = sender
        self._means = means
        self._touch = touch
        self._error: Exception | None = None

    async def run(self) -> bool:
        """Returns whether it is over: False if it was ended before.

        Raises:
            DeadLetterTopicGone, KafkaUnavailable, KafkaRefused: nothing is lost; run another one.
        """
        keys = set(self._queue.held)
        if not keys:
            return True
        try:
            await self._rounds(keys)
        finally:
            for key in list(self._queue.aside):
                self._means.pending.take_in(self._queue, key)
        return not self._sender.is_ending

    async def _rounds(self, keys: set[bytes]) -> None:
        bounds, held = await self._bounds(), [self._queue.held[key] for key in keys]
        begin = min(each.letter if each.number == self._number else 0 for each in held)
        begin = max(bounds.start, min(begin, bounds.end))
        counted, is_first = dict.fromkeys(keys, 1 << 62), True
        while keys and not self._sender.is_ending:
            drained = await self._drained(keys & self._queue.aside.keys())
            end = (await self._bounds()).end
            found = await self._look_up(begin, end, keys)
            if is_first:
                keys &= {key for key, each in found.items() if each.is_meant}
                is_first = False
            for key in [key for key in keys if key in found and found[key].trouble]:
                self._stays_held(key, found[key].trouble)
                keys.discard(key)
            found = {key: found.get(key, HeldLetters()) for key in keys}
            keys -= await self._send_all({key: each.places for key, each in found.items()}, _whole(found) & drained)
            keys &= self._queue.held.keys()
            for key in keys & _whole(found) - drained:
                count = len(found[key].places)
                if count <= FEW or count > counted[key] // 2:
                    self._means.pending.set_aside(self._queue, key)
                counted[key] = count
            if not any(each.is_cut for each in found.values()):
                begin = end

    async def _bounds(self) -> LogBounds:
        bounds = (await self._means.log.bounds()).get(self._number)
        if bounds is None:
            raise DeadLetterTopicGone(f"dead-letter topic {self._means.topic} has no partition {self._number} any more")
        return bounds

    async def _drained(self, keys: Collection[bytes]) -> set[bytes]:
        """Those whose lanes are empty; of the others, such as a paused one, records go their way again."""
        lanes, until_s = self._queue.lanes.tails, self._means.monotonic_s() + DRAIN_S
        while any(key in lanes for key in keys) and self._means.monotonic_s() < until_s and not self._sender.is_ending:
            await self._sender.rest(LOOK_S)
        for key in keys:
            if key in lanes:
                self._means.pending.take_in(self._queue, key)
        return {key for key in keys if key not in lanes}

    async def _look_up(self, begin: int, end: int, keys: Collection[bytes]) -> dict[bytes, HeldLetters]:
        """What there is of these keys; where it is too much, what comes first in the order of their partition."""
        found: dict[bytes, HeldLetters] = {}
        offset, places_max = begin, max(1, LETTERS_MAX // len(keys))
        while offset < end and not self._sender.is_ending:
            part = await self._means.log.fetch(self._number, offset, RECORDS_PER_FETCH_MAX)
            for record in part.records:
                if record.offset >= end or record.key is None or record.key not in keys:
                    continue
                letter = parse(record)
                if self._is_ours(letter):
                    each = found.setdefault(record.key, HeldLetters())
                    each.is_meant |= self._is_meant(letter)
                    if letter.offset not in self._settled:
                        each.trouble = each.trouble or self._trouble(letter)
                        each.add(Place(letter.source_offset, letter.offset), places_max)
            offset = part.next_offset
        for each in found.values():
            each.cut(places_max)
        return found

    def _is_ours(self, letter: DeadLetterRecord | Foreign) -> TypeGuard[DeadLetterRecord]:
        if not isinstance(letter, DeadLetterRecord) or letter.key is None:
            return False
        held, wanted = self._queue.held.get(letter.key), self._task.plan.filter.dispositions
        if letter.disposition is Disposition.SKIPPED and Disposition.SKIPPED not in wanted:  # it was given up
            return False
        return (
            (letter.source, letter.subscription) == (self._source, self._task.subscription)
            and held is not None
            and (held.number != self._number or letter.offset >= held.letter)
        )

    def _is_meant(self, letter: DeadLetterRecord) -> bool:
        bounds = self._task.bounds[self._number]
        return bounds.start <= letter.offset < bounds.end and self._task.plan.wants(letter)

    def _trouble(self, letter: DeadLetterRecord) -> str:
        where = f"{letter.source}@{letter.source_offset}"
        if self._task.plan.quarantines(letter, self._means.replays_max):
            return f"{where} is quarantined"
        return f"the value of {where} is not in the dead-letter topic" if letter.omitted is not None else ""

    async def _send_all(self, places: dict[bytes, list[Place]], last: Collection[bytes]) -> set[bytes]:
        """Send them, a few keys at a time, and release those of which that was the last; returns those that failed."""
        waiting, failed = deque(places.items()), set[bytes]()

        async def work() -> None:
            while waiting and not self._sender.is_ending:
                key, its = waiting.popleft()
                try:
                    if not await self._send(key, its):
                        failed.add(key)
                    elif key in last and not self._sender.is_ending:
                        await self._release(key)
                except (DeadLetterTopicGone, KafkaUnavailable, KafkaRefused) as error:
                    self._error = error
                    waiting.clear()

        await asyncio.gather(*(work() for _ in range(min(KEYS_AT_ONCE, len(places)))))
        if self._error is not None:
            raise self._error
        return failed

    async def _send(self, key: bytes, places: list[Place]) -> bool:
        """Whether all of them are accepted; in order, copies of a record next to each other."""
        read: dict[int, DeadLetterRecord] = {}
        wanted = {place.letter for place in places}
        last = -1
        for place in places:
            if place.source_offset == last:  # a copy: its owner was killed before it committed
                self._settled.add(place.letter)
                self._touch()
                continue
            if place.letter not in read:
                read = await self._read(place.letter, wanted)
            letter = read.pop(place.letter, None)
            if letter is None:  # retention was faster
                self._counts.expired += 1
                continue
            finished = asyncio.Event()

            def on_finished(delivery: ReplayedDelivery, finished: asyncio.Event = finished) -> None:
                self._finished(delivery)
                finished.set()

            delivery = self._sender.revive(letter, on_finished, releases=True)
            if not await self._sender.has_room(delivery.size_bytes):
                return False
            if place.letter in self._settled:  # an operator skipped it meanwhile
                self._sender.settled()
                continue
            self._counts.matched += 1
            self._counts.sent += 1
            self._means.pending.inject(self._queue, delivery)
            await finished.wait()
            if delivery.is_dead_again:
                self._stays_held(key, f"{delivery} failed again")
                return False
            last = place.source_offset
        return True

    async def _read(self, offset: int, wanted: Collection[int]) -> dict[int, DeadLetterRecord]:
        """The letter at the offset, and what else the fetch brings of those that are wanted."""
        end, at = offset + 1, offset
        records: Iterable[Record] = ()
        while at < end and not records and not self._sender.is_ending:
            part = await self._means.log.fetch(self._number, at, RECORDS_PER_FETCH_MAX)
            records, at = part.records, part.next_offset
        letters = [parse(record) for record in records if record.offset in wanted]
        return {letter.offset: letter for letter in letters if self._is_ours(letter)}

    def _finished(self, delivery: ReplayedDelivery) -> None:
        self._settled.add(delivery.letter_offset)
        if delivery.is_dead_again:
            self._counts.failed += 1
        else:
            self._counts.succeeded += 1
        self._sender.settled()
        self._touch()

    async def _release(self, key: bytes) -> None:
        while not self._sender.is_ending:
            try:
                if self._means.may_write():
                    await self._means.held.release(self._queue, key)
                    return
            except ControlUnavailable:  # the log says so itself
                pass
            await self._sender.rest(ERROR_REST_S)

    def _stays_held(self, key: bytes, why: str) -> None:
        extra = {"code": "held.stays", "subscription": self._means.subscription}
        log.warning("%s: replay %s leaves a key held: %s", self._source, self._task.id, why, extra=extra)
        self._means.pending.take_in(self._queue, key)


def _whole(found: Mapping[bytes, HeldLetters]) -> set[bytes]:
    return {key for key, each in found.items() if not each.is_cut}
