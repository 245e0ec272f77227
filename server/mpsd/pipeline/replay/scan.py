"""A scan of dead letters: the one loop that reads a dead-letter topic."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from mpsd.core.dead_letter_record import DeadLetterRecord, Foreign, parse, source_of
from mpsd.core.record import LogBounds, Record, TopicPartition
from mpsd.errors import KafkaUnavailable
from mpsd.ports import DeadLetterLog

RECORDS_PER_FETCH_MAX = 500
SILENCE_MAX = 20
"""Empty answers in a row after which the broker counts as unreachable."""


class ScanPart(NamedTuple):
    """Dead letters that one fetch brought.

    Attributes:
        dead_letters: the selected ones within the bounds, in offset order.
        next_offset: where the next fetch begins, at most the end of the bounds.
        expired: offsets that retention took before they were read.
    """

    dead_letters: list[DeadLetterRecord]
    next_offset: int
    expired: int


class DeadLetterScan:
    """An iterator over the dead letters of one partition of a dead-letter topic.

    Takes: the records of a log within bounds.
    Gives: parsed dead letters, a part for each answer of the log; records of other programs are left out.
    Holds at most: one fetch.

    The iteration raises what the log raises, and KafkaUnavailable after `SILENCE_MAX` empty answers in a row. A scan that
    raised goes on at the same offset.
    """

    def __init__(
        self,
        log: DeadLetterLog,
        partition: int,
        bounds: LogBounds,
        subscriptions: Collection[str],
        select: Callable[[Record], bool] = lambda _: True,
    ) -> None:
        """Begin at the start of the bounds.

        Args:
            subscriptions: whose dead letters are wanted; an empty name stands for those that name no subscription.
            select: a cheap look at a record, which spares the parsing of those that are not wanted.
        """
        self._log = log
        self._partition = partition
        self._next_offset, self._end = bounds
        self._subscriptions = subscriptions
        self._select = select
        self._silence = 0

    def __aiter__(self) -> "DeadLetterScan":
        return self

    async def __anext__(self) -> ScanPart:
        offset, end = self._next_offset, self._end
        if offset >= end:
            raise StopAsyncIteration
        part = await self._log.fetch(self._partition, offset, RECORDS_PER_FETCH_MAX)
        self._silence = self._silence + 1 if part.next_offset == offset else 0
        if self._silence > SILENCE_MAX:
            self._silence = 0
            raise KafkaUnavailable(f"partition {self._partition} of the dead-letter topic has no answer at {offset}")
        self._next_offset = min(part.next_offset, end)
        return ScanPart(
            [
                dead_letter
                for record in part.records
                if record.offset < end and self._select(record) and (dead_letter := self._parsed(record)) is not None
            ],
            self._next_offset,
            0 if part.records else self._next_offset - offset,
        )

    def _parsed(self, record: Record) -> DeadLetterRecord | None:
        dead_letter = parse(record)
        if isinstance(dead_letter, Foreign) or dead_letter.subscription not in self._subscriptions:
            return None
        return dead_letter


def select_keys(source: TopicPartition, begins: Mapping[bytes, int]) -> Callable[[Record], bool]:
    """Return a look that selects the dead letters of some keys of a source partition.

    Args:
        begins: by key, where its dead letters begin.
    """

    def select(record: Record) -> bool:
        begin = begins.get(record.key) if record.key is not None else None
        return begin is not None and record.offset >= begin and source_of(record) == source

    return select
