"""The survey of a replay beforehand, and the bounds that keep its `records_max`."""

from mpsd.core.offset_set import OffsetSet
from mpsd.core.offset_tracker import Run
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.replay import ReplayPlan
from mpsd.core.replay_book import ReplayBook
from mpsd.core.replay_progress import replayed
from mpsd.pipeline.replay.survey import SAMPLES_MAX, Survey, survey
from tests.fakes.records import FAILED, POISON, PRODUCED_MS, Row
from tests.fakes.replays import FakeDeadLetterLog, dead_letter

SOURCE = TopicPartition("orders", 0)


async def seen(log: FakeDeadLetterLog, plan: ReplayPlan, *runs: Run, timeout_s: float = 60.0) -> Survey:
    book = ReplayBook("billing", "billing")
    book.see_settled((SOURCE, 0), replayed(OffsetSet(0, runs), 1))
    return await survey(log, await log.bounds(), plan, book, "billing", 3, timeout_s)


async def test_it_counts_by_reason_key_and_what_is_left_out() -> None:
    rows = [dead_letter(n, n, b"ab"[n % 2 : n % 2 + 1], last=POISON if n < 12 else FAILED) for n in range(20)]
    rows += [dead_letter(20, 20, replays=3), Row(topic="orders.dlq", offset=21)]
    found = await seen(FakeDeadLetterLog(*rows), ReplayPlan(), Run(0, 4))
    assert (found.matched, found.replayed, found.quarantined, found.is_complete) == (16, 4, 1, True)
    groups = {group.name: group.records for group in found.groups.most_frequent(10)}
    assert groups == {POISON.reason: 8, FAILED.reason: 8}
    assert found.keys == {b"a": 8, b"b": 8}
    assert len(found.samples) == SAMPLES_MAX
    again = await seen(FakeDeadLetterLog(*rows), ReplayPlan(again=True, include_quarantined=True), Run(0, 4))
    assert (again.matched, again.replayed, again.quarantined) == (21, 4, 0)


async def test_the_oldest_are_kept_whatever_their_partition() -> None:
    ages = {0: [1, 5, 6], 1: [2, 3, 9], 2: [7]}
    rows = [
        dead_letter(offset, 0, number=number, at_ms=PRODUCED_MS + age)
        for number, each in ages.items()
        for offset, age in enumerate(each)
    ]
    log = FakeDeadLetterLog(*rows, partitions=3)
    for count, ends in (
        (0, [0, 0, 0]),
        (1, [1, 0, 0]),
        (3, [1, 2, 0]),
        (4, [2, 2, 0]),
        (6, [3, 2, 1]),
        (99, [3, 3, 1]),
    ):
        found = await seen(log, ReplayPlan(records_max=count))
        bounds = found.bounds(await log.bounds())
        assert [each.end for each in bounds.values()] == ends, count
        assert set(bounds) == {0, 1, 2}
        assert bounds[0] == LogBounds(0, ends[0])


async def test_a_clock_that_goes_back_lets_no_more_through() -> None:
    rows = [dead_letter(offset, offset, at_ms=PRODUCED_MS + age) for offset, age in enumerate([5, 9, 1, 2])]
    found = await seen(FakeDeadLetterLog(*rows), ReplayPlan(records_max=2))
    assert found.bounds({0: LogBounds(0, 4)}) == {0: LogBounds(0, 2)}


async def test_at_the_deadline_it_says_what_it_has() -> None:
    log = FakeDeadLetterLog(*[dead_letter(n, n) for n in range(100)])
    log.records_max = 1
    found = await seen(log, ReplayPlan(), timeout_s=0.05)
    assert not found.is_complete
    assert 0 < found.matched < 100
