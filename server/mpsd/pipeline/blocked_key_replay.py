"""Blocked keys, replayed: each whole, in the order of its partition, up to the live end; then it is released.

A key's dead letters are not in order in the dead-letter topic: one that failed again stands behind what was blocked since. So
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
from collections.abc import Awaitable, Callable, Collection, Mapping

from mpsd.core.blocked_key_dead_letters import BlockedKeyDeadLetters, Place, Reach
from mpsd.core.blocked_keys import BlockedKey, first_dead_letter
from mpsd.core.dead_letter_record import DeadLetterRecord
from mpsd.core.record import LogBounds
from mpsd.errors import ControlUnavailable, DeadLetterTopicGone, KafkaRefused, KafkaUnavailable
from mpsd.pipeline.blocked_key_sender import BlockedKeySender
from mpsd.pipeline.replay_sender import ERROR_REST_S, LOOK_S, ReplaySender

log = logging.getLogger("mpsd.replay")

KEYS_AT_ONCE = 16
"""Keys of a partition that are replayed at a time, each with what one fetch brought of it."""
LETTERS_MAX = 100_000
"""Dead letters of a partition that are sent in a round, in equal shares for its keys; twice as many are about 40 MiB."""
FEW = 100
"""Dead letters of a key up to which the rest of them is sent while its records wait."""
DRAIN_S = 5.0
"""Time that the lane of a key may take to become empty before its records go into the dead-letter topic again."""


async def replay_blocked(sender: ReplaySender, report: Callable[[], Awaitable[bool]]) -> bool:
    """Replay the blocked keys of which the task means a dead letter.

    Args:
        report: writes what is settled; returns whether that is durable.

    Returns:
        Whether it is over: False if it was ended before.

    Raises:
        DeadLetterTopicGone, KafkaUnavailable, KafkaRefused: nothing is lost; ask again.
    """
    keys = _could_be_meant(sender)
    if not keys:
        return True
    bounds = await sender.means.bounds(sender.number)
    begins = {key: first_dead_letter(blocked, sender.number, bounds) for key, blocked in keys.items()}
    return await BlockedKeyReplay(sender, begins, bounds.end, report).run()


class BlockedKeyReplay:
    """A replay of the blocked keys of which a task means a dead letter.

    Takes: dead letters of its source partition.
    Gives: their records to the lanes of the partition, one of a key at a time; keys to be released to BlockedKeys.
    Holds at most: the places of twice `LETTERS_MAX` dead letters, `KEYS_AT_ONCE` fetches.
    """

    def __init__(
        self,
        sender: ReplaySender,
        begins: Mapping[bytes, int],
        dead_letters_end: int,
        report: Callable[[], Awaitable[bool]],
    ) -> None:
        """Begin.

        Args:
            begins: by key, where its dead letters begin.
            letters_end: where they end, as of now.
            report: writes what is settled; returns whether that is durable.
        """
        self._begins = begins
        self._dead_letters_end = dead_letters_end
        self._sender = sender
        self._task, self._queue, self._means = sender.task, sender.queue, sender.means
        self._source, self._number = sender.source, sender.number
        self._settled = sender.settled
        self._report = report
        self._error: Exception | None = None
        self._dead_letters = BlockedKeySender(sender, begins)

    async def run(self) -> bool:
        """Replay the keys; return True once that is over, False if it was ended before.

        Raises:
            DeadLetterTopicGone, KafkaUnavailable, KafkaRefused: nothing is lost; run another one.
        """
        try:
            await self._rounds(set(self._begins))
        finally:
            for key in list(self._queue.aside):
                self._means.pending.take_in(self._queue, key)
        return not self._sender.is_ending

    async def _rounds(self, keys: set[bytes]) -> None:
        begin, counted, is_first = min(self._begins.values()), dict.fromkeys(keys, 1 << 62), True
        while keys and not self._sender.is_ending:
            keys -= {key for key, why in self._dead_letters.back().items() if self._stays_blocked(key, why)}
            at_hand = keys - self._dead_letters.out.keys()
            if not at_hand:
                await self._sender.rest(LOOK_S)
                continue
            drained = await self._drained(self._in_order(at_hand & self._queue.aside.keys()))
            reach = self._reach(at_hand - drained)
            end = (await self._means.bounds(self._number)).end
            found = await self._look_up(begin, end, at_hand, reach)
            if is_first:  # of a key whose dead letters have all expired nothing is left to be meant
                keys &= {key for key in keys if key not in found or found[key].is_meant}
                is_first = False
            keys -= {key for key in self._in_order(keys & found.keys()) if self._stays_blocked(key, found[key].problem)}
            found = {key: found.get(key, BlockedKeyDeadLetters()) for key in self._in_order(keys & at_hand)}
            last = {key for key in drained & found.keys() if not found[key].is_cut and found[key].left is None}
            keys -= await self._send_all({key: each.places for key, each in found.items()}, last)
            keys &= self._queue.blocked.keys()
            for key in self._in_order((keys & _whole(found)) - drained - self._dead_letters.out.keys()):
                count = len(found[key].places)
                if count <= FEW or count > counted[key] // 2:
                    self._means.pending.set_aside(self._queue, key)
                counted[key] = count
            if keys <= found.keys() and not self._dead_letters.out and not any(each.is_cut for each in found.values()):
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
                self._means.pending.take_in(self._queue, key)
        return {key for key in keys if key not in lanes}

    async def _look_up(
        self, begin: int, end: int, keys: Collection[bytes], reach: Reach
    ) -> dict[bytes, BlockedKeyDeadLetters]:
        """Return the dead letters of the keys; where they are too many, the first in the order of their partition."""
        found: dict[bytes, BlockedKeyDeadLetters] = {}
        places_max = max(1, LETTERS_MAX // len(keys))
        async for part in self._dead_letters.scan(LogBounds(begin, end), keys):
            for dead_letter in filter(self._dead_letters.is_wanted, part.dead_letters):
                key = dead_letter.key
                assert key is not None
                each = found.setdefault(key, BlockedKeyDeadLetters())
                each.is_meant |= self._is_meant(dead_letter)
                if dead_letter.offset not in self._settled:
                    each.problem = each.problem or self._failures(dead_letter)
                    place = Place(dead_letter.source_offset, dead_letter.offset)
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
        if self._task.plan.quarantines(dead_letter, self._means.replays_max):
            return f"{where} is quarantined"
        return f"the value of {where} is not in the dead-letter topic" if dead_letter.omitted is not None else ""

    async def _send_all(self, places: dict[bytes, list[Place]], last: Collection[bytes]) -> set[bytes]:
        """Send dead letters, a few keys at a time, and release the keys of which that was the last; return those that failed."""
        waiting, failed = deque(places.items()), set[bytes]()

        async def work() -> None:
            while waiting and not self._sender.is_ending:
                key, its = waiting.popleft()
                try:
                    if self._stays_blocked(key, await self._dead_letters.send(key, its)):
                        failed.add(key)
                    elif key in last and key not in self._dead_letters.out and not self._sender.is_ending:
                        await self._release(key)
                except (DeadLetterTopicGone, KafkaUnavailable, KafkaRefused) as error:
                    self._error = error
                    waiting.clear()

        await asyncio.gather(*(work() for _ in range(min(KEYS_AT_ONCE, len(places)))))
        if self._error is not None:
            raise self._error
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
            log.warning("%s: replay %s leaves a key blocked: %s", self._source, self._task.id, why, extra=extra)
            self._means.pending.take_in(self._queue, key)
        return bool(why)


def _could_be_meant(sender: ReplaySender) -> dict[bytes, BlockedKey]:
    wanted, source = sender.task.plan.filter, sender.source
    is_here = wanted.topic in {"", source.topic} and wanted.partition in {None, source.partition}
    return {key: blocked for key, blocked in sender.queue.blocked.items() if is_here and wanted.key in {None, key}}


def _whole(found: Mapping[bytes, BlockedKeyDeadLetters]) -> set[bytes]:
    return {key for key, each in found.items() if not each.is_cut and not each.is_unread}
