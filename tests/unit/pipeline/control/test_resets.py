"""A group's offsets, moved by an operator while records flow."""

import asyncio

import pytest

from mpsd.core.control import Provenance
from mpsd.core.delivery import Delivery
from mpsd.core.offset_map import split_reset
from mpsd.core.outcome import DELIVERED, Outcome
from mpsd.core.record import TopicPartition
from mpsd.core.resets import AGE_MAX_MS, Reset, Target
from mpsd.errors import KafkaUnavailable
from tests.fakes.control import FakeControl
from tests.fakes.pipeline import Piped, piped
from tests.fakes.records import POISON, PRODUCED_MS

KEYS = [b"%d" % number for number in range(10)]


def reset(offset: int, end: int, reset_id: str = "0123abcd", partition: int = 0, at_ms: int = PRODUCED_MS) -> Reset:
    targets = {TopicPartition("orders", partition): Target(offset, end)}
    return Reset(id=reset_id, targets=targets, revision=1, provenance=Provenance("ann", "", at_ms, "", ""))


async def released(at: Piped) -> None:
    """Longer than anything takes here."""
    await asyncio.sleep(30.0)
    assert len(at.source.released) == 1


async def test_a_partition_goes_back_and_what_comes_again_says_so(at: Piped) -> None:
    at.feed(*KEYS)
    await asyncio.sleep(2.0)
    at.pipeline.controls.set_reset(reset(4, 10))
    await released(at)
    assert at.source.committed[TopicPartition("orders", 0)] == (4, "mpsr0123abcd;")
    replays: list[str | None] = []

    def note(delivery: Delivery) -> Outcome:
        replays.append(delivery.replay)
        return DELIVERED

    at.adapter.answer = note
    at.source.assign(epoch=2)
    at.pipeline.controls.set_reset(reset(4, 10))
    at.source.produce(b"new")
    await asyncio.sleep(2.0)
    assert sorted(at.adapter.offsets[10:]) == [4, 5, 6, 7, 8, 9, 10]
    assert replays == ["0123abcd"] * 6 + [None]
    assert len(at.source.released) == 1, "it is applied once"
    assert at.committed() == 11
    assert split_reset(at.source.committed[TopicPartition("orders", 0)].metadata)[0] == "0123abcd"


async def test_what_is_in_flight_finishes_first(at: Piped) -> None:
    at.adapter.takes_s = 3.0
    at.feed(*KEYS)
    await asyncio.sleep(1.0)
    at.source.produce(*KEYS)
    at.pipeline.controls.set_reset(reset(20, 0))
    await asyncio.sleep(1.0)
    assert not at.source.released
    assert at.pipeline.statistics().partitions[0].state == "draining"
    await released(at)
    assert (len(at.adapter.started), at.committed()) == (10, 20)


async def test_a_commit_that_fails_is_tried_until_it_succeeds(at: Piped) -> None:
    at.feed(*KEYS)
    await asyncio.sleep(2.0)
    at.source.commit_error = KafkaUnavailable("not now")
    at.pipeline.controls.set_reset(reset(0, 10))
    await asyncio.sleep(5.0)
    assert not at.source.released
    at.source.commit_error = None
    await released(at)
    assert at.committed() == 0


async def test_a_partition_that_is_lost_meanwhile_is_left_to_its_next_owner(at: Piped) -> None:
    at.adapter.answer = lambda _: None
    assignment = at.feed(*KEYS)
    await asyncio.sleep(0.1)
    at.pipeline.controls.set_reset(reset(0, 10))
    await asyncio.sleep(0.1)
    at.source.lose(assignment)
    await asyncio.sleep(100.0)
    assert not at.source.released


async def test_a_partition_that_leaves_and_then_stays_goes_where_it_must(at: Piped) -> None:
    at.adapter.takes_s = 3.0
    assignment = at.feed(*KEYS)
    await asyncio.sleep(1.0)
    at.source.listener.on_leaving(assignment)
    at.pipeline.controls.set_reset(reset(0, 10))
    at.source.listener.on_stays(assignment)
    await released(at)
    assert at.committed() == 0


@pytest.mark.parametrize("other", ["another partition", "too old", "none"])
async def test_what_concerns_others_moves_nothing(at: Piped, other: str) -> None:
    at.feed(*KEYS)
    await asyncio.sleep(2.0)
    old = PRODUCED_MS - AGE_MAX_MS
    made = {"another partition": reset(0, 5, partition=1), "too old": reset(0, 5, at_ms=old), "none": None}
    at.pipeline.controls.set_reset(made[other])
    await asyncio.sleep(2.0)
    assert (at.source.released, at.committed()) == ([], 10)


async def test_a_new_owner_applies_it_before_it_delivers_anything() -> None:
    read = asyncio.Event()

    async def until_read() -> None:
        await read.wait()

    async with piped(FakeControl(read=until_read)) as at:
        at.feed(*KEYS)
        await asyncio.sleep(1.0)
        at.pipeline.controls.set_reset(reset(7, 0))
        assert not at.source.released
        read.set()
        await released(at)
        assert (at.adapter.started, at.committed()) == ([], 7)
        at.source.assign(epoch=2)
        await asyncio.sleep(1.0)
        assert sorted(at.adapter.offsets) == [7, 8, 9]


async def test_a_dead_letter_that_cannot_be_written_does_not_hold_it_up_for_ever() -> None:
    async with piped(drain_timeout_s=5.0) as at:
        at.sink.refuse = lambda _: KafkaUnavailable("not now")
        at.adapter.answer = lambda _: POISON
        at.feed(*KEYS)
        await asyncio.sleep(1.0)
        at.pipeline.controls.set_reset(reset(10, 0))
        await released(at)
        assert at.committed() == 10
