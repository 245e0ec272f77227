"""Replay blocked keys: each whole, in the order of its partition, up to the live end; then release it.

The dead letters of a key are not in order in the dead-letter topic: one that failed again stands behind those that were
blocked since. So a round looks them up first, and sends them in the order of their source offsets, the next once the last
is accepted. Records of the key that are read meanwhile go on into the dead-letter topic, round after round, until little is
left. Then the records that are read are postponed, the records in the lane go into the dead-letter topic, the rest is sent,
and the key is released.

    round 1   [dead letters, as of now]          live records → dead-letter topic
    round 2   [those that came meanwhile]        live records wait
              lane empty → the last of them → released → live records
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection

from mpsd.core.blocked_key_dead_letters import BlockedKeyDeadLetters, DeadLetterOffsets, Reach
from mpsd.core.blocked_keys import first_dead_letter
from mpsd.core.dead_letter_record import DeadLetterRecord
from mpsd.core.delivery import ReplayedDelivery, Seat
from mpsd.core.record import LogBounds
from mpsd.core.retry import Disposition
from mpsd.errors import ControlUnavailable, DeadLetterTopicGone, KafkaRefused, KafkaUnavailable
from mpsd.pipeline.replay.scan import DeadLetterScan, select_keys
from mpsd.pipeline.replay.sender import ERROR_REST_S, LOOK_S, ReplaySender, wait

log = logging.getLogger("mpsd.replay")

KEYS_AT_ONCE = 16
"""Keys of a partition that are replayed at a time, each with what one fetch brought of it."""
DEAD_LETTERS_MAX = 100_000
"""Dead letters of a partition that are sent in a round, in equal shares for its keys; twice as many are about 40 MiB."""
FEW = 100
"""Dead letters of a key up to which the rest of them is sent while its records wait."""
PATIENCE_S = 5.0
"""Time that the other keys wait for a record that is not at the application."""
DRAIN_S = 5.0
"""Time that the lane of a key may take to become empty before its records go into the dead-letter topic again."""


class BlockedKeyReplay:
    """A replay of the blocked keys of which a task means a dead letter.

    Takes: dead letters of its source partition.
    Gives: their records to the lanes of the partition, one of a key at a time; keys to be released to BlockedKeys.
    Holds at most: the positions of twice `DEAD_LETTERS_MAX` dead letters, `KEYS_AT_ONCE` fetches; of each key the last
        record that was accepted, and one that is out: of a paused key, or in back-off, so that nobody waits for it.
    """

    def __init__(self, sender: ReplaySender, report: Callable[[], Awaitable[bool]]) -> None:
        """Begin with the keys that are blocked now.

        Args:
            report: writes what is settled; returns True if that is durable.
        """
        self._sender = sender
        self._task, self._queue, self._means = sender.task, sender.queue, sender.means
        self._source, self._number = sender.source, sender.number
        self._report = report
        self._begins: dict[bytes, int] = {}
        self._dead_letters_end = 0
        self._last: dict[bytes, tuple[int, int, int]] = {}
        self._out: dict[bytes, ReplayedDelivery] = {}

    async def run(self) -> bool:
        """Replay the keys; return True once that is over, False if it was ended before.

        Raises:
            DeadLetterTopicGone, KafkaUnavailable, KafkaRefused: nothing is lost; run another one.
        """
        wanted, source, blocked = self._task.plan.filter, self._source, self._queue.blocked
        is_here = wanted.topic in {"", source.topic} and wanted.partition in {None, source.partition}
        keys = {key: each for key, each in blocked.items() if is_here and wanted.key in {None, key}}
        if not keys:
            return True
        bounds = await self._means.rules.bounds(self._number)
        self._begins = {key: first_dead_letter(each, self._number, bounds) for key, each in keys.items()}
        self._dead_letters_end = bounds.end
        try:
            await self._rounds(set(keys))
        finally:
            for key in list(self._queue.postponed):
                self._means.pending.resume_key(self._queue, key)
        return not self._sender.is_ending

    async def _rounds(self, keys: set[bytes]) -> None:
        begin, counted, is_first = min(self._begins.values()), dict.fromkeys(keys, 1 << 62), True
        while keys and not self._sender.is_ending:
            keys -= {key for key, why in self._back().items() if self._stays_blocked(key, why)}
            at_hand = keys - self._out.keys()
            if not at_hand:
                await self._sender.rest(LOOK_S)
                continue
            drained = await self._drained(self._in_order(at_hand & self._queue.postponed.keys()))
            reach = self._reach(at_hand - drained)
            end = (await self._means.rules.bounds(self._number)).end
            found = await self._look_up(begin, end, at_hand, reach)
            if is_first:  # of a key whose dead letters have all expired nothing is left to be meant
                keys &= {key for key in keys if key not in found or found[key].is_meant}
                is_first = False
            keys -= {key for key in self._in_order(keys & found.keys()) if self._stays_blocked(key, found[key].problem)}
            found = {key: found.get(key, BlockedKeyDeadLetters()) for key in self._in_order(keys & at_hand)}
            last = {key for key in drained & found.keys() if not found[key].is_cut and found[key].left is None}
            keys -= await self._send_all({key: each.places for key, each in found.items()}, last)
            keys &= self._queue.blocked.keys()
            whole = {key for key, each in found.items() if not each.is_cut and not each.is_unread}
            for key in self._in_order((keys & whole) - drained - self._out.keys()):
                count = len(found[key].places)
                if count <= FEW or count > counted[key] // 2:
                    self._means.pending.postpone_key(self._queue, key)
                counted[key] = count
            if keys <= found.keys() and not self._out and not any(each.is_cut for each in found.values()):
                begin = min((each.left for each in found.values() if each.left is not None), default=end)
            if any(each.left is not None for each in found.values()):
                await self._sender.rest(LOOK_S)

    def _in_order(self, keys: Collection[bytes]) -> list[bytes]:
        """Return the keys in the order in which they were blocked; a set has another order in each process."""
        return [key for key in self._begins if key in keys]

    def _reach(self, keys: Collection[bytes]) -> Reach:
        """Return the reach of keys whose lanes have something, or may have."""
        queue, unfinished = self._queue, dict[bytes, int]()
        for offset, delivery in queue.tracker.unfinished.items():
            key = delivery.record.key
            if key is not None and key in keys:
                unfinished.setdefault(key, offset)
        position = queue.tracker.end
        # one that waits for room may stop the reading, and room is made here
        log_end = queue.readable_end if not queue.crowded else position
        return Reach(unfinished, position, log_end, self._dead_letters_end)

    async def _drained(self, keys: Collection[bytes]) -> set[bytes]:
        """Return the keys whose lanes are empty; the records of others, such as a paused key, go their way again."""
        lanes, until_s = self._queue.lanes.tails, self._means.monotonic_s() + DRAIN_S
        while any(key in lanes for key in keys) and self._means.monotonic_s() < until_s and not self._sender.is_ending:
            await self._sender.rest(LOOK_S)
        for key in keys:
            if key in lanes:
                self._means.pending.resume_key(self._queue, key)
        return {key for key in keys if key not in lanes}

    async def _look_up(
        self, begin: int, end: int, keys: Collection[bytes], reach: Reach
    ) -> dict[bytes, BlockedKeyDeadLetters]:
        """Return the dead letters of the keys; where they are too many, the first in the order of their partition."""
        found: dict[bytes, BlockedKeyDeadLetters] = {}
        places_max = max(1, DEAD_LETTERS_MAX // len(keys))
        async for part in self._scan(LogBounds(begin, end), keys):
            for dead_letter in filter(self._is_wanted, part.dead_letters):
                key = dead_letter.key
                assert key is not None
                each = found.setdefault(key, BlockedKeyDeadLetters())
                each.is_meant |= self._is_meant(dead_letter)
                if dead_letter.offset not in self._sender.settled:
                    each.problem = each.problem or self._failures(dead_letter)
                    place = DeadLetterOffsets(dead_letter.source_offset, dead_letter.offset)
                    is_unread = reach.is_unread(place)
                    if is_unread or reach.is_behind(key, place):
                        each.leave(place, is_unread)
                    else:
                        each.add(place, places_max)
            if self._sender.is_ending:
                break
        for each in found.values():
            each.cut(places_max)
        return found

    def _is_meant(self, dead_letter: DeadLetterRecord) -> bool:
        bounds = self._task.bounds[self._number]
        return bounds.start <= dead_letter.offset < bounds.end and self._task.plan.wants(dead_letter)

    def _failures(self, dead_letter: DeadLetterRecord) -> str:
        where = f"{dead_letter.source}@{dead_letter.source_offset}"
        if self._task.plan.quarantines(dead_letter, self._means.rules.replays_max):
            return f"{where} is quarantined"
        return f"the value of {where} is not in the dead-letter topic" if dead_letter.omitted is not None else ""

    async def _send_all(self, places: dict[bytes, list[DeadLetterOffsets]], last: Collection[bytes]) -> set[bytes]:
        """Send dead letters, a few keys at a time, and release the keys of which that was the last; return those that failed."""
        waiting, failed, errors = deque(places.items()), set[bytes](), list[Exception]()

        async def work() -> None:
            while waiting and not self._sender.is_ending:
                key, its = waiting.popleft()
                try:
                    if self._stays_blocked(key, await self._send(key, its)):
                        failed.add(key)
                    elif key in last and key not in self._out and not self._sender.is_ending:
                        await self._release(key)
                except (DeadLetterTopicGone, KafkaUnavailable, KafkaRefused) as error:
                    errors.append(error)
                    waiting.clear()

        await asyncio.gather(*(work() for _ in range(min(KEYS_AT_ONCE, len(places)))))
        if errors:
            raise errors[-1]
        return failed

    async def _release(self, key: bytes) -> None:
        while not self._sender.is_ending:
            try:
                # what was sent is known to be settled first: a next owner would send it behind what is live
                if self._means.may_write() and await self._report() and not self._sender.is_ending:
                    await self._means.blocked.release(self._queue, key)
                    return
            except ControlUnavailable:  # the log says so itself
                pass
            await self._sender.rest(ERROR_REST_S)

    def _stays_blocked(self, key: bytes, why: str) -> bool:
        """Return True and log `why` if the key must stay blocked."""
        if why:
            extra = {"code": "blocked_key.still_blocked", "subscription": self._means.subscription}
            log.warning("%s: replay %s left a key blocked: %s", self._source, self._task.id, why, extra=extra)
            self._means.pending.resume_key(self._queue, key)
        return bool(why)

    async def _send(self, key: bytes, places: list[DeadLetterOffsets]) -> str:
        """Send dead letters until all are accepted, one fails or one is out; return why one failed, empty if none did."""
        read: dict[int, DeadLetterRecord] = {}
        wanted = {place.dead_letter for place in places}
        end = max(wanted, default=0) + 1
        for place in places:
            if place.dead_letter not in read:
                read = await self._read(key, LogBounds(place.dead_letter, end), wanted)
            dead_letter = read.pop(place.dead_letter, None)
            if dead_letter is None:  # retention was faster
                self._sender.counts.expired += 1
                continue
            record = dead_letter.source_offset, dead_letter.timestamp, hash(dead_letter.value)
            if self._last.get(key) == record:  # a copy: its owner was killed before it committed
                self._sender.settled.add(place.dead_letter)
                self._sender.is_dirty = True
                continue
            finished = asyncio.Event()

            def on_finished(delivery: ReplayedDelivery, finished: asyncio.Event = finished) -> None:
                self._sender.finished(delivery)
                finished.set()

            delivery = self._sender.revive(dead_letter, on_finished, releases=True)
            if not await self._sender.has_room(delivery.size_bytes):
                return "it was ended"
            if place.dead_letter in self._sender.settled:  # an operator skipped it meanwhile
                self._sender.give_back()
                continue
            self._sender.counts.matched += 1
            self._sender.counts.sent += 1
            self._means.pending.inject(self._queue, delivery)
            if not await self._ended(delivery, finished):
                self._out[key] = delivery
                self._means.pending.resume_key(self._queue, key)
                return ""
            if delivery.is_dead_again:
                return f"{delivery} failed again"
            self._last[key] = record
        return ""

    def _back(self) -> dict[bytes, str]:
        """Return the keys whose records were out and are settled now, and why each cannot go on; empty if it can."""
        ended = {key: each for key, each in self._out.items() if each.dead_letter_offset in self._sender.settled}
        for key in ended:
            del self._out[key]
        return {key: f"{each} failed again" if each.is_dead_again else "" for key, each in ended.items()}

    def _scan(self, bounds: LogBounds, keys: Collection[bytes]) -> DeadLetterScan:
        """Return a scan of the dead letters of some keys that are to be sent."""
        select = select_keys(self._source, {key: self._begins[key] for key in keys})
        return DeadLetterScan(self._means.rules.log, self._number, bounds, {self._task.subscription}, select)

    def _is_wanted(self, dead_letter: DeadLetterRecord) -> bool:
        """Return False if an operator gave the dead letter up, and the task does not ask for such."""
        return (
            dead_letter.disposition is not Disposition.SKIPPED
            or Disposition.SKIPPED in self._task.plan.filter.dispositions
        )

    async def _ended(self, delivery: ReplayedDelivery, finished: asyncio.Event) -> bool:
        while not finished.is_set():
            await wait(finished, PATIENCE_S)
            if not finished.is_set() and delivery.seat is not Seat.IN_FLIGHT:
                return False
        return True

    async def _read(self, key: bytes, bounds: LogBounds, wanted: Collection[int]) -> dict[int, DeadLetterRecord]:
        """Return the dead letter at the start of the bounds, and the wanted ones that came with the same fetch."""
        async for part in self._scan(bounds, {key}):
            if part.next_offset > bounds.start or self._sender.is_ending:
                found = (dead_letter for dead_letter in part.dead_letters if dead_letter.offset in wanted)
                return {dead_letter.offset: dead_letter for dead_letter in found if self._is_wanted(dead_letter)}
        return {}
