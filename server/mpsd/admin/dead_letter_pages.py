"""Dead letters of one subscription, read from the newest to the oldest."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.refusals import InvalidArgument, NotFound
from mpsd.admin.validation import page_token, parse_token
from mpsd.core.dead_letter_record import DeadLetterFilter, DeadLetterRecord
from mpsd.core.record import LogBounds
from mpsd.core.replay_book import ReplayBook
from mpsd.pipeline.replay.scan import DeadLetterScan
from mpsd.ports import DeadLetterLog

WINDOW_RECORDS = 500
"""Read at a time; a list goes back from the end in such steps."""
WINDOWS_PER_PAGE_MAX = 40
"""A page of a filter that seldom matches may be short, so that nobody waits for the whole topic to be read."""
_KIND = "dead letters"


@dataclass(slots=True)
class _Back:
    """A partition of the dead-letter topic that is read backwards.

    Attributes:
        before: everything from here on was given, or did not match.
        found: read and not given yet, newest last.
    """

    partition: int
    start: int
    before: int
    found: list[DeadLetterRecord] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return not self.found and self.before <= self.start

    @property
    def next_before(self) -> int:
        return self.found[-1].offset + 1 if self.found else self.before


class DeadLetters:
    """The dead letters of one subscription."""

    def __init__(self, log: DeadLetterLog, subscription: str, book: ReplayBook | None = None) -> None:
        """Begin with nothing read.

        Args:
            book: told which topic it is that is read.
        """
        self._log = log
        self._book = book
        self._subscription = subscription

    async def page(self, wanted: DeadLetterFilter, size: int, token: str) -> tuple[list[DeadLetterRecord], str]:
        """Return the next dead letters, newest first, and the token of the page behind them.

        Raises:
            InvalidArgument: the token is none of ours.
        """
        befores = _befores(token)
        backs = [
            _Back(partition, start, min(end, befores.get(partition, end if befores is _FIRST else start)))
            for partition, (start, end) in sorted((await self._bounds()).items())
        ]
        given: list[DeadLetterRecord] = []
        windows = 0
        while len(given) < size:
            for back in backs:
                while not back.found and back.before > back.start and windows < WINDOWS_PER_PAGE_MAX:
                    windows += 1
                    await self._fill(back, wanted)
            if any(not back.found and not back.is_over for back in backs):
                break  # what was not read could be newer than what was found
            newest = max(
                (back for back in backs if back.found), key=lambda b: b.found[-1].dead_lettered_at_ms, default=None
            )
            if newest is None:
                break
            dead_letter = newest.found.pop()
            given.append(dead_letter)
            if not newest.found:
                newest.before = min(newest.before, dead_letter.offset)
        return given, _token(backs)

    async def _bounds(self) -> Mapping[int, LogBounds]:
        bounds = await self._log.bounds()
        if self._book is not None:
            self._book.see_topic(self._log.topic_id)
        return bounds

    async def _fill(self, back: _Back, wanted: DeadLetterFilter) -> None:
        begin = max(back.start, back.before - WINDOW_RECORDS)
        scan = self._scan(back.partition, LogBounds(begin, back.before))
        dead_letters = [dead_letter async for part in scan for dead_letter in part.dead_letters]
        back.found = list(filter(wanted.matches, dead_letters))
        back.before = begin
        if wanted.since_ms is not None and dead_letters and dead_letters[-1].dead_lettered_at_ms < wanted.since_ms:
            back.before = back.start  # a dead letter's time is that of its writing: what is before it is older

    async def every(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetterRecord]:
        """Yield all dead letters that match at the time of the call, partition by partition."""
        for partition, bounds in sorted((await self._bounds()).items()):
            async for part in self._scan(partition, bounds):
                for dead_letter in filter(wanted.matches, part.dead_letters):
                    yield dead_letter
                await asyncio.sleep(0)

    async def newest_of(self, source: pb.RecordRef) -> DeadLetterRecord:
        """Return the newest dead letter of a source record.

        Raises:
            NotFound: there is none.
        """
        wanted = DeadLetterFilter(topic=source.topic, partition=source.partition)
        bounds = await self._bounds()
        first = source.partition % max(1, len(bounds))  # where it was written, unless partitions were added since
        for partitions in ([first], [each for each in bounds if each != first]):
            token = _token([_Back(each, *bounds[each]) for each in partitions if each in bounds])
            while token:
                dead_letters, token = await self.page(wanted, WINDOW_RECORDS, token)
                for dead_letter in dead_letters:
                    if dead_letter.source_offset == source.offset:
                        return dead_letter
        where = f"{source.topic}/{source.partition}@{source.offset}"
        words = f"{self._subscription} has no dead letter of {where}: it never had, or it has expired"
        raise NotFound(words, "dead letter", where)

    def _scan(self, partition: int, bounds: LogBounds) -> DeadLetterScan:
        """Return a scan of dead letters of the subscription, and of those that name none."""
        return DeadLetterScan(self._log, partition, bounds, {"", self._subscription})


_FIRST: dict[int, int] = {}


def _befores(token: str) -> dict[int, int]:
    found = parse_token(token, _KIND, (str,))
    if found is None:
        return _FIRST
    try:
        pairs = [part.split(":") for part in str(found[0]).split(",")]
        return {int(partition): max(0, int(before)) for partition, before in pairs}
    except ValueError as error:
        raise InvalidArgument("page_token", "is not one of this list; leave it empty for the first page") from error


def _token(backs: Sequence[_Back]) -> str:
    """Return the token of the page behind these partitions; empty if nothing is left."""
    if all(back.is_over for back in backs):
        return ""
    return page_token(_KIND, ",".join(f"{back.partition}:{back.next_before}" for back in backs))
