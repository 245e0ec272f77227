"""Dead letters as messages of the admin service: listed from the newest to the oldest, counted, or one in full."""

import asyncio
from collections.abc import AsyncIterator

from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.calls import CALL, Calls, Context
from mpsd.admin.dead_letter_pages import DeadLetters
from mpsd.admin.refusals import InvalidArgument, PermissionDenied
from mpsd.admin.validation import check_topic, page_size, pipeline_of
from mpsd.admin.wire import KEY_BYTES_SHOWN_MAX, dead_letter_of, filter_of, is_replayed, scope_of_filter, timestamp
from mpsd.core.dead_letter_groups import DeadLetterGroup, DeadLetterGroups, Grouping
from mpsd.core.dead_letter_record import DeadLetterFilter, DeadLetterRecord
from mpsd.core.reason_pattern import pattern_of
from mpsd.core.replay_book import ReplayBook
from mpsd.pipeline.pipeline import Pipeline


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


HEADER_BYTES_SHOWN_MAX = 1_024
VALUE_BYTES_SHOWN_MAX = 65_536
SUMMARY_S_MAX = 60.0
GROUPS_MAX, GROUPS_MOST = 100, 1_000


class DeadLetterCalls(Calls):
    """The methods that show dead letters; each raises what `DeadLetterLog` raises."""

    @override
    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        pipeline = pipeline_of(self._daemon.pipelines, request.subscription)
        name, book = pipeline.settings.name, _book(pipeline)
        wanted, size = filter_of(request.filter), page_size(request.page_size)
        async with self._daemon.dead_letters(name) as reader:
            dead_letters, token = await DeadLetters(reader, name, book).page(wanted, size, request.page_token)
        if not dead_letters and not token and not request.page_token:
            await self._check_place(name, wanted)
        return pb.ListDeadLettersResponse(
            dead_letters=[dead_letter_of(each, book) for each in dead_letters], next_page_token=token
        )

    @override
    async def SummarizeDeadLetters(
        self, request: pb.SummarizeDeadLettersRequest, context: Context
    ) -> pb.SummarizeDeadLettersResponse:
        """Count dead letters in groups."""
        call = CALL.get()
        if request.grouping == pb.DEAD_LETTER_GROUPING_KEY and not call.caller.sees_content:
            raise PermissionDenied(
                f"grouping by key needs the role operator, or content = true; {call.caller.name} has viewer"
            )
        pipeline = pipeline_of(self._daemon.pipelines, request.subscription)
        name, book, wanted = pipeline.settings.name, _book(pipeline), filter_of(request.filter)
        if request.groups_max > GROUPS_MOST:
            raise InvalidArgument("groups_max", f"{request.groups_max} is more than {GROUPS_MOST}")
        if request.grouping not in GROUPINGS:
            raise InvalidArgument("grouping", f"{request.grouping} is none that this version knows")
        async with self._daemon.dead_letters(name) as reader:
            dead_letters = DeadLetters(reader, name, book).every(wanted)
            groups_max, bound_s = request.groups_max or GROUPS_MAX, call.within_s(SUMMARY_S_MAX)
            answer = await summarize(dead_letters, book, request.grouping, groups_max, bound_s)
        if not answer.groups and not answer.incomplete:
            await self._check_place(name, wanted)
        return answer

    @override
    async def GetDeadLetter(self, request: pb.GetDeadLetterRequest, context: Context) -> pb.GetDeadLetterResponse:
        """Return one dead letter in full."""
        if request.values:
            self._check_values("GetDeadLetter with values")
        pipeline = pipeline_of(self._daemon.pipelines, request.subscription)
        name, book = pipeline.settings.name, _book(pipeline)
        if not request.source.topic:
            raise InvalidArgument("source.topic", "must name a topic")
        async with self._daemon.dead_letters(name) as reader:
            dead_letter = await DeadLetters(reader, name, book).newest_of(request.source)
        return whole(dead_letter, book, values=request.values)

    async def _check_place(self, name: str, wanted: DeadLetterFilter) -> None:
        """Raise NotFound if no dead letter matches because the filter names a topic or partition that does not exist."""
        if wanted.topic:
            check_topic(scope_of_filter(name, wanted), await self._daemon.partitions(name))


def _book(pipeline: Pipeline) -> ReplayBook | None:
    """Return the book of settled dead letters; None if the subscription cannot replay."""
    return pipeline.replays.book if pipeline.replays is not None else None


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
