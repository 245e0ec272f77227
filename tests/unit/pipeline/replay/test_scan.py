"""A scan of dead letters: its bounds, its selection, and its patience with a silent broker."""

import pytest
from typing_extensions import override

from mpsd.core.dead_letter import Sender
from mpsd.core.record import LogBounds, LogPart, Record
from mpsd.errors import DeadLetterTopicGone, KafkaUnavailable
from mpsd.pipeline.replay.scan import SILENCE_MAX, DeadLetterScan, ScanPart
from tests.fakes.records import Row
from tests.fakes.replays import FakeDeadLetterLog, dead_letter

OTHER = Sender(subscription="shipping", group="billing", endpoint="")
OURS = {"billing"}


async def parts(scan: DeadLetterScan) -> list[ScanPart]:
    return [part async for part in scan]


def offsets(parts: list[ScanPart]) -> list[list[int]]:
    return [[each.offset for each in part.dead_letters] for part in parts]


async def test_it_gives_the_dead_letters_of_the_subscription_within_the_bounds() -> None:
    rows = [dead_letter(n, n) for n in range(6)]
    rows += [dead_letter(6, 6, sender=OTHER), Row(topic="orders.dlq", offset=7), dead_letter(8, 8), dead_letter(9, 9)]
    log = FakeDeadLetterLog(*rows)
    assert offsets(await parts(DeadLetterScan(log, 0, LogBounds(2, 9), OURS))) == [[2, 3, 4, 5, 8]]
    log.records_max = 4
    found = await parts(DeadLetterScan(log, 0, LogBounds(2, 9), {*OURS, "shipping"}))
    assert offsets(found) == [[2, 3, 4, 5], [6, 8]]
    assert [part.next_offset for part in found] == [6, 9], "a fetch that goes on behind the bounds ends at them"


async def test_what_is_not_selected_is_left_out() -> None:
    log = FakeDeadLetterLog(*(dead_letter(n, n, b"ab"[n % 2 : n % 2 + 1]) for n in range(6)))

    def select(record: Record) -> bool:
        return record.key == b"b"

    assert offsets(await parts(DeadLetterScan(log, 0, LogBounds(0, 6), OURS, select))) == [[1, 3, 5]]


async def test_an_empty_range_reads_nothing() -> None:
    log = FakeDeadLetterLog(dead_letter(0, 0))
    assert await parts(DeadLetterScan(log, 0, LogBounds(1, 1), OURS)) == []
    assert log.fetched == []


async def test_what_retention_took_is_counted() -> None:
    log = FakeDeadLetterLog(*(dead_letter(n, n) for n in range(10)))
    log.starts[0] = 7
    found = await parts(DeadLetterScan(log, 0, LogBounds(2, 9), OURS))
    assert [part.expired for part in found] == [5, 0]
    assert offsets(found) == [[], [7, 8]]
    assert [part.expired for part in await parts(DeadLetterScan(log, 0, LogBounds(2, 5), OURS))] == [3]


class Silent(FakeDeadLetterLog):
    """A log whose broker gives so many empty answers before each record."""

    empty = 0

    @override
    async def fetch(self, partition: int, offset: int, records_max: int) -> LogPart:
        if self.fetched.count(partition) % (self.empty + 1) == self.empty:
            return await super().fetch(partition, offset, 1)
        await super().fetch(partition, offset, 1)
        return LogPart((), offset)


async def test_a_silent_broker_counts_as_unreachable_after_a_bound() -> None:
    log = Silent(dead_letter(0, 0), dead_letter(1, 1))
    log.empty = SILENCE_MAX
    found = await parts(DeadLetterScan(log, 0, LogBounds(0, 2), OURS))
    assert [each for each in offsets(found) if each] == [[0], [1]], "each record ends the silence"
    log = Silent(dead_letter(0, 0))
    log.empty = SILENCE_MAX + 1
    scan = DeadLetterScan(log, 0, LogBounds(0, 1), OURS)
    with pytest.raises(KafkaUnavailable, match="partition 0 of the dead-letter topic has no answer at 0"):
        await parts(scan)
    assert offsets(await parts(scan)) == [[0]], "and goes on where it was"


async def test_an_error_of_the_log_is_raised_and_the_scan_goes_on_where_it_was() -> None:
    log = FakeDeadLetterLog(*(dead_letter(n, n) for n in range(4)))
    log.records_max = 2
    scan = DeadLetterScan(log, 0, LogBounds(0, 4), OURS)
    assert [each.offset for each in (await anext(scan)).dead_letters] == [0, 1]
    log.error = DeadLetterTopicGone("gone")
    with pytest.raises(DeadLetterTopicGone):
        await anext(scan)
    log.error = None
    assert offsets(await parts(scan)) == [[2, 3]]
