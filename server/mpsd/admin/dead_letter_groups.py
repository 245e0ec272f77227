"""Dead letters that have something in common, counted."""

import asyncio
from collections.abc import AsyncIterator

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.dead_letter_wire import KEY_BYTES_SHOWN_MAX, dead_letter_of, is_replayed
from mpsd.admin.times import timestamp
from mpsd.core.dead_letter_groups import DeadLetterGroup, DeadLetterGroups, Grouping
from mpsd.core.dead_letter_record import DeadLetterRecord
from mpsd.core.reason_pattern import pattern_of
from mpsd.core.replay_book import ReplayBook


async def summarize(
    dead_letters: AsyncIterator[DeadLetterRecord],
    book: ReplayBook | None,
    grouping: pb.DeadLetterGrouping.ValueType,
    groups_max: int,
    left_s: float,
) -> pb.SummarizeDeadLettersResponse:
    """Count until all are read, or the time is over.

    Args:
        groups_max: that are listed, 1 or more.
    """
    counted, is_complete = DeadLetterGroups(GROUPINGS[grouping]), False
    try:
        async with asyncio.timeout(left_s):
            async for dead_letter in dead_letters:
                counted.add(dead_letter, replayed=is_replayed(dead_letter, book))
            is_complete = True
    except TimeoutError:
        pass
    listed = counted.most_frequent(groups_max)
    return pb.SummarizeDeadLettersResponse(
        groups=[wire_group(group, book) for group in listed],
        other_records=counted.records - sum(group.records for group in listed),
        incomplete=not is_complete,
    )


def wire_group(group: DeadLetterGroup, book: ReplayBook | None) -> pb.DeadLetterGroup:
    """Return the group as the wire says it."""
    return pb.DeadLetterGroup(
        name=group.name,
        records=group.records,
        first_at=timestamp(group.first_ms),
        last_at=timestamp(group.last_ms),
        sample=dead_letter_of(group.sample, book),
        replayed_records=group.replayed,
    )


def _by_reason(dead_letter: DeadLetterRecord, reason: str) -> str:
    status = (
        f" {dead_letter.status}"
        if dead_letter.status is not None and str(dead_letter.status) not in dead_letter.reason
        else ""
    )
    return f"{_by_disposition(dead_letter)}{status}: {reason}"


def _by_disposition(dead_letter: DeadLetterRecord) -> str:
    return dead_letter.disposition.value if dead_letter.disposition is not None else "unknown"


def _by_status(dead_letter: DeadLetterRecord) -> str:
    return "none" if dead_letter.status is None else str(dead_letter.status)


def _by_partition(dead_letter: DeadLetterRecord) -> str:
    return str(dead_letter.source)


def _by_key(dead_letter: DeadLetterRecord) -> str:
    return "no key" if dead_letter.key is None else repr(dead_letter.key[:KEY_BYTES_SHOWN_MAX])[2:-1] or "empty key"


REASON = Grouping(
    key=lambda dead_letter: _by_reason(dead_letter, pattern_of(dead_letter.reason)),
    name=lambda dead_letter: _by_reason(dead_letter, dead_letter.reason),
)
GROUPINGS: dict[int, Grouping] = {
    pb.DEAD_LETTER_GROUPING_UNSPECIFIED: REASON,
    pb.DEAD_LETTER_GROUPING_REASON: REASON,
    pb.DEAD_LETTER_GROUPING_DISPOSITION: Grouping(_by_disposition, _by_disposition),
    pb.DEAD_LETTER_GROUPING_STATUS: Grouping(_by_status, _by_status),
    pb.DEAD_LETTER_GROUPING_PARTITION: Grouping(_by_partition, _by_partition),
    pb.DEAD_LETTER_GROUPING_KEY: Grouping(_by_key, _by_key),
}
