"""Dead letters as messages of the admin service: listed from the newest to the oldest, counted, or one in full."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.daemon import Steerable
from mpsd.admin.fleet import MARGIN
from mpsd.admin.refusals import InvalidArgument, NotFound
from mpsd.admin.validation import check_topic, page_size, page_token, parse_token, pipeline_of
from mpsd.admin.wire import KEY_BYTES_SHOWN_MAX, dead_letter_of, filter_of, is_replayed, scope_of_filter, timestamp
from mpsd.core.dead_letter_groups import DeadLetterGroup, DeadLetterGroups, Grouping
from mpsd.core.dead_letter_record import DeadLetterFilter, DeadLetterRecord
from mpsd.core.reason_pattern import pattern_of
from mpsd.core.record import LogBounds
from mpsd.core.replay_book import ReplayBook
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replay.scan import DeadLetterScan
from mpsd.ports import DeadLetterLog


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
    """Return the message of a group."""
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


WINDOW_RECORDS = 500
"""Read at a time; a list goes back from the end in such steps."""
WINDOWS_PER_PAGE_MAX = 40
"""A page of a filter that seldom matches may be short, so that nobody waits for the whole topic to be read."""
HEADER_BYTES_SHOWN_MAX = 1_024
VALUE_BYTES_SHOWN_MAX = 65_536
_KIND = "dead letters"


SUMMARY_S_MAX = 60.0
GROUPS_MAX, GROUPS_MOST = 100, 1_000


async def list_dead_letters(daemon: Steerable, request: pb.ListDeadLettersRequest) -> pb.ListDeadLettersResponse:
    """Return a page of dead letters; raises InvalidArgument, NotFound, and what `DeadLetterLog` raises."""
    pipeline = pipeline_of(daemon.pipelines, request.subscription)
    name, book = pipeline.settings.name, _book(pipeline)
    wanted, size = filter_of(request.filter), page_size(request.page_size)
    async with daemon.dead_letters(name) as reader:
        dead_letters, token = await DeadLetters(reader, name, book).page(wanted, size, request.page_token)
    if not dead_letters and not token and not request.page_token:
        await _check_place(daemon, name, wanted)
    return pb.ListDeadLettersResponse(
        dead_letters=[dead_letter_of(each, book) for each in dead_letters], next_page_token=token
    )


async def summarize_dead_letters(
    daemon: Steerable, request: pb.SummarizeDeadLettersRequest, left_s: float | None
) -> pb.SummarizeDeadLettersResponse:
    """Count dead letters in groups; raises what `list_dead_letters` does.

    Args:
        left_s: how long the caller will wait; None: for ever.
    """
    pipeline = pipeline_of(daemon.pipelines, request.subscription)
    name, wanted = pipeline.settings.name, filter_of(request.filter)
    if request.groups_max > GROUPS_MOST:
        raise InvalidArgument("groups_max", f"{request.groups_max} is more than {GROUPS_MOST}")
    if request.grouping not in GROUPINGS:
        raise InvalidArgument("grouping", f"{request.grouping} is none that this version knows")
    bound_s = SUMMARY_S_MAX if left_s is None else min(SUMMARY_S_MAX, left_s * (1 - MARGIN))
    async with daemon.dead_letters(name) as reader:
        dead_letters = DeadLetters(reader, name, _book(pipeline)).every(wanted)
        answer = await summarize(
            dead_letters, _book(pipeline), request.grouping, request.groups_max or GROUPS_MAX, bound_s
        )
    if not answer.groups and not answer.incomplete:
        await _check_place(daemon, name, wanted)
    return answer


async def _check_place(daemon: Steerable, name: str, wanted: DeadLetterFilter) -> None:
    """Raise NotFound if no dead letter matches because the filter names a topic or partition that does not exist."""
    if wanted.topic:
        check_topic(scope_of_filter(name, wanted), await daemon.partitions(name))


async def get_dead_letter(daemon: Steerable, request: pb.GetDeadLetterRequest) -> pb.GetDeadLetterResponse:
    """Return one dead letter in full; raises what `list_dead_letters` does."""
    pipeline = pipeline_of(daemon.pipelines, request.subscription)
    name = pipeline.settings.name
    if not request.source.topic:
        raise InvalidArgument("source.topic", "must name a topic")
    async with daemon.dead_letters(name) as reader:
        dead_letter = await DeadLetters(reader, name, _book(pipeline)).newest_of(request.source)
    return whole(dead_letter, _book(pipeline), values=request.values)


def _book(pipeline: Pipeline) -> ReplayBook | None:
    """Return the book of settled dead letters; None if the subscription cannot replay."""
    return pipeline.replays.book if pipeline.replays is not None else None


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


def whole(dead_letter: DeadLetterRecord, book: ReplayBook | None, *, values: bool) -> pb.GetDeadLetterResponse:
    """Return a dead letter with its headers, its excerpt and, if wanted, its value."""
    return pb.GetDeadLetterResponse(
        dead_letter=dead_letter_of(dead_letter, book),
        headers=[
            pb.Header(name=name, value=value[:HEADER_BYTES_SHOWN_MAX] if value is not None else None)
            for name, value in dead_letter.headers
        ],
        excerpt=dead_letter.excerpt[:HEADER_BYTES_SHOWN_MAX],
        value=dead_letter.value[:VALUE_BYTES_SHOWN_MAX] if values and dead_letter.value is not None else None,
    )


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
