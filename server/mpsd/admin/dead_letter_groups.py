"""Dead letters that have something in common, counted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.letters import KEY_BYTES_SHOWN_MAX, is_replayed, letter_of
from mpsd.admin.times import timestamp
from mpsd.core.dead_letter_record import DeadLetterRecord
from mpsd.core.replay_book import ReplayBook

GROUPS_KEPT_MAX = 10_000
"""While counting; the dead letters of further groups are counted together."""


@dataclass(slots=True)
class Group:
    """Dead letters that have something in common."""

    sample: DeadLetterRecord
    first_ms: int
    last_ms: int
    records: int = 0
    replayed: int = 0


async def summarize(
    letters: AsyncIterator[DeadLetterRecord],
    book: ReplayBook | None,
    grouping: pb.DeadLetterGrouping.ValueType,
    groups_max: int,
    left_s: float,
) -> pb.SummarizeDeadLettersResponse:
    """Count until all are read, or the time is over.

    Args:
        groups_max: that are listed, 1 or more.
    """
    groups: dict[str, Group] = {}
    other, is_complete = 0, False
    name_of = GROUPINGS[grouping]
    try:
        async with asyncio.timeout(left_s):
            async for letter in letters:
                name = name_of(letter)
                at_ms = letter.dead_lettered_at_ms
                if name not in groups:
                    if len(groups) == GROUPS_KEPT_MAX:
                        other += 1
                        continue
                    groups[name] = Group(letter, at_ms, at_ms)
                group = groups[name]
                group.records += 1
                group.replayed += is_replayed(letter, book)
                group.first_ms, group.last_ms = min(group.first_ms, at_ms), max(group.last_ms, at_ms)
            is_complete = True
    except TimeoutError:
        pass
    frequent = sorted(groups.items(), key=lambda each: (-each[1].records, each[0]))
    other += sum(group.records for _, group in frequent[groups_max:])
    return pb.SummarizeDeadLettersResponse(
        groups=[
            pb.DeadLetterGroup(
                name=name,
                records=group.records,
                first_at=timestamp(group.first_ms),
                last_at=timestamp(group.last_ms),
                sample=letter_of(group.sample, book),
                replayed_records=group.replayed,
            )
            for name, group in frequent[:groups_max]
        ],
        other_records=other,
        incomplete=not is_complete,
    )


def _by_reason(letter: DeadLetterRecord) -> str:
    status = f" {letter.status}" if letter.status is not None and str(letter.status) not in letter.reason else ""
    return f"{_by_disposition(letter)}{status}: {letter.reason}"


def _by_disposition(letter: DeadLetterRecord) -> str:
    return letter.disposition.value if letter.disposition is not None else "unknown"


def _by_key(letter: DeadLetterRecord) -> str:
    return "no key" if letter.key is None else repr(letter.key[:KEY_BYTES_SHOWN_MAX])[2:-1] or "empty key"


GROUPINGS: dict[int, Callable[[DeadLetterRecord], str]] = {
    pb.DEAD_LETTER_GROUPING_UNSPECIFIED: _by_reason,
    pb.DEAD_LETTER_GROUPING_REASON: _by_reason,
    pb.DEAD_LETTER_GROUPING_DISPOSITION: _by_disposition,
    pb.DEAD_LETTER_GROUPING_STATUS: lambda letter: "none" if letter.status is None else str(letter.status),
    pb.DEAD_LETTER_GROUPING_PARTITION: lambda letter: str(letter.source),
    pb.DEAD_LETTER_GROUPING_KEY: _by_key,
}
