"""A record that an operator sends to the dead-letter topic, wherever it stands."""

import asyncio
from dataclasses import replace

import pytest

from mpsd.core.outcome import DELIVERED
from mpsd.core.pauses import Scope
from mpsd.errors import KafkaUnavailable, RecordNotHere
from mpsd.ports import DlqPosition
from tests.fakes.blocked_keys import pause_of
from tests.fakes.pipeline import Piped, piped
from tests.fakes.records import FAILED, LOST, POISON
from tests.fakes.replays import dead_letter
from tests.fakes.stage import policy_rules
from tests.unit.pipeline.replay.test_tasks import Fleet

PAUSED_KEY = pause_of(b"a")


async def skipped(at: Piped, offset: int) -> DlqPosition:
    return await at.pipeline.skip("orders", 0, offset, "in the way")


def dispositions(at: Piped) -> dict[int, str]:
    return {dead_letter.delivery.record.offset: dead_letter.disposition for dead_letter in at.sink.dead_letters}


async def test_a_record_in_back_off_goes_at_once_and_its_lane_goes_on() -> None:
    async with piped(rules=policy_rules(backoff_initial_s=1_000.0, backoff_max_s=1_000.0)) as at:
        at.adapter.answer = lambda delivery: FAILED if delivery.record.offset == 0 else DELIVERED
        at.feed(b"a", b"a", b"b")
        await asyncio.sleep(1.0)
        assert await skipped(at, 0) == DlqPosition("letters", 0, 0)
        (dead_letter,) = at.sink.dead_letters
        assert (dead_letter.disposition, dead_letter.reason) == ("skipped", "in the way")
        await asyncio.sleep(2.0)
        assert (at.adapter.offsets, at.committed()) == ([0, 2, 1], 3)


async def test_a_record_behind_others_goes_at_once_and_they_stay(at: Piped) -> None:
    at.adapter.answer = lambda _: None
    at.feed(b"a", b"a", b"a", b"a")
    await asyncio.sleep(1.0)
    await skipped(at, 3)
    await skipped(at, 1)
    at.adapter.answer = lambda _: DELIVERED
    at.adapter.end(next(iter(at.adapter.in_flight)), DELIVERED)
    at.source.produce(b"a")
    await asyncio.sleep(2.0)
    assert (at.adapter.offsets, at.committed()) == ([0, 2, 4], 5)


@pytest.mark.parametrize("stop", ["partition", "key", "concurrency"])
async def test_a_record_that_is_ready_or_parked_goes_at_once(at: Piped, stop: str) -> None:
    if stop == "key":
        at.pipeline.controls.set_pauses([PAUSED_KEY])
    elif stop == "partition":
        at.pipeline.controls.set_pauses([replace(PAUSED_KEY, scope=Scope("billing"))])
    else:
        at.pipeline.writer.concurrency_max = 0
    at.feed(b"a", b"a")
    await asyncio.sleep(1.0)
    await skipped(at, 0)
    assert not at.adapter.started
    at.pipeline.controls.set_pauses([])
    at.pipeline.controls.set_limit(None)
    await asyncio.sleep(2.0)
    assert (at.adapter.offsets, at.committed()) == ([1], 2)


async def test_a_record_behind_a_replayed_one_goes_at_once() -> None:
    fleet = Fleet(dead_letter(0, 100, b"a"))
    async with fleet.daemon() as at:
        fleet.outcome = None
        at.source.assign()
        await fleet.start()
        await asyncio.sleep(2.0)
        at.source.produce(b"a", b"a")
        await asyncio.sleep(1.0)
        await skipped(at, 0)
        fleet.outcome = DELIVERED
        at.adapter.end(next(iter(at.adapter.in_flight)), DELIVERED)
        await asyncio.sleep(2.0)
        assert dispositions(at) == {0: "skipped"}
        assert [offset for _, _, offset in fleet.seen] == [100, 1]
        assert at.committed() == 2
        assert not at.pipeline.writer.skips


async def test_a_suspect_goes_at_once(at: Piped) -> None:
    at.adapter.answer = lambda _: None
    at.feed(b"a", b"b", b"c")
    await asyncio.sleep(0.1)
    at.adapter.crash()
    await asyncio.sleep(20.0)
    assert at.pipeline.statistics().suspects == 3
    waiting = [delivery.record.offset for delivery in at.pipeline.writer.waiting.suspects]
    await skipped(at, waiting[0])
    assert dispositions(at) == {waiting[0]: "skipped"}


@pytest.mark.parametrize("outcome", [FAILED, LOST])
async def test_a_record_in_flight_goes_when_it_comes_back(at: Piped, outcome: object) -> None:
    at.adapter.answer = lambda _: None
    at.feed(b"a", b"b")
    await asyncio.sleep(0.1)
    skipping = [asyncio.create_task(skipped(at, 0)) for _ in range(2)]
    await asyncio.sleep(10.0)
    assert not at.sink.dead_letters
    for delivery in list(at.adapter.in_flight):
        at.adapter.end(delivery, outcome)  # type: ignore[arg-type]
    assert await skipping[0] == await skipping[1] == DlqPosition("letters", 0, 0)
    assert dispositions(at) == {0: "skipped"}
    assert not at.pipeline.writer.skips


async def test_a_record_that_is_accepted_meanwhile_is_not_skipped(at: Piped) -> None:
    at.adapter.takes_s = 5.0
    at.feed(b"a")
    await asyncio.sleep(0.1)
    with pytest.raises(RecordNotHere, match="accepted meanwhile"):
        await skipped(at, 0)
    assert not at.sink.dead_letters
    assert not at.pipeline.writer.skips


async def test_a_record_on_its_way_into_the_dead_letter_topic_lands_there_once(at: Piped) -> None:
    at.sink.refuse = lambda _: KafkaUnavailable("not now")
    at.adapter.answer = lambda _: POISON
    at.feed(b"a")
    await asyncio.sleep(5.0)
    skipping = asyncio.create_task(skipped(at, 0))
    await asyncio.sleep(5.0)
    at.sink.refuse = lambda _: None
    assert await skipping == DlqPosition("letters", 0, 0)
    assert dispositions(at) == {0: "rejected"}


async def test_what_is_not_here_is_named(at: Piped) -> None:
    at.feed(b"a", b"b")
    await asyncio.sleep(1.0)
    for offset, why in ((0, "settled"), (2, "not read yet")):
        with pytest.raises(RecordNotHere, match=why):
            await skipped(at, offset)
    with pytest.raises(RecordNotHere, match="does not have"):
        await at.pipeline.skip("orders", 7, 0, "")


async def test_a_partition_that_is_lost_meanwhile_ends_the_wait(at: Piped) -> None:
    at.adapter.answer = lambda _: None
    assignment = at.feed(b"a")
    await asyncio.sleep(0.1)
    skipping = asyncio.create_task(skipped(at, 0))
    await asyncio.sleep(0.1)
    at.source.lose(assignment)
    with pytest.raises(RecordNotHere, match="another daemon"):
        await skipping
    assert not at.pipeline.writer.skips
