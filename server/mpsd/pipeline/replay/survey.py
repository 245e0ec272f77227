"""A look at what a replay would do, before it is started."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from mpsd.core.dead_letter_groups import BY_REASON, DeadLetterGroups
from mpsd.core.dead_letter_record import DeadLetterRecord
from mpsd.core.record import LogBounds
from mpsd.core.replay import ReplayPlan
from mpsd.core.replay_book import ReplayBook
from mpsd.pipeline.replay.scan import DeadLetterScan
from mpsd.ports import DeadLetterLog

SAMPLES_MAX = 10
KEYS_MAX = 100_000
"""Different keys that are counted; the dead letters of further ones are counted all the same, but not their keys."""


@dataclass(slots=True, kw_only=True)
class Survey:
    """The forecast of a replay.

    Attributes:
        matched: dead letters that it would replay.
        quarantined: that match, but came back too often.
        replayed: that match, but were replayed before.
        keys: how many of each key, of `KEYS_MAX` keys at most.
        groups: those that match, by reason.
        oldest: negated time, partition and negated offset of the first `records_max` of them, as a heap.
        is_complete: all was read; else the counts are of what was read until then.
    """

    matched: int = 0
    quarantined: int = 0
    replayed: int = 0
    keys: Counter[bytes | None] = field(default_factory=Counter)
    groups: DeadLetterGroups = field(default_factory=lambda: DeadLetterGroups(BY_REASON))
    samples: list[DeadLetterRecord] = field(default_factory=list)
    oldest: list[tuple[int, int, int]] = field(default_factory=list)
    is_complete: bool = False

    def bounds(self, bounds: Mapping[int, LogBounds]) -> dict[int, LogBounds]:
        """Cut so that only the oldest are left."""
        stops = {number: each.start for number, each in bounds.items()}
        for _, number, offset in self.oldest:
            stops[number] = max(stops[number], -offset + 1)
        return {number: LogBounds(each.start, stops[number]) for number, each in bounds.items()}


async def survey(
    log: DeadLetterLog,
    bounds: Mapping[int, LogBounds],
    plan: ReplayPlan,
    book: ReplayBook,
    subscription: str,
    replays_max: int,
    timeout_s: float,
) -> Survey:
    """Look at all that is within the bounds, or as far as the time goes.

    Raises:
        DeadLetterTopicGone, KafkaUnavailable, KafkaRefused: it cannot be read.
    """
    seen = Survey()
    try:
        async with asyncio.timeout(timeout_s):
            for number, within in sorted(bounds.items()):
                latest_ms = 0
                async for part in DeadLetterScan(log, number, within, {subscription}):
                    for dead_letter in part.dead_letters:
                        latest_ms = max(latest_ms, dead_letter.dead_lettered_at_ms)
                        _see(seen, dead_letter, plan, book, replays_max, latest_ms)
            seen.is_complete = True
    except TimeoutError:
        pass
    return seen


def _see(
    seen: Survey, dead_letter: DeadLetterRecord, plan: ReplayPlan, book: ReplayBook, replays_max: int, latest_ms: int
) -> None:
    if not plan.wants(dead_letter) or dead_letter.omitted is not None:
        return
    if plan.quarantines(dead_letter, replays_max):
        seen.quarantined += 1
        return
    if book.is_settled(dead_letter.tp.partition, dead_letter.offset):
        seen.replayed += 1
        if not plan.again:
            return
    seen.matched += 1
    if dead_letter.key in seen.keys or len(seen.keys) < KEYS_MAX:
        seen.keys[dead_letter.key] += 1
    seen.groups.add(dead_letter)
    if len(seen.samples) < SAMPLES_MAX:
        seen.samples.append(dead_letter)
    if plan.records_max:
        heappush(seen.oldest, (-latest_ms, dead_letter.tp.partition, -dead_letter.offset))
        if len(seen.oldest) > plan.records_max:
            heappop(seen.oldest)  # the youngest of them
