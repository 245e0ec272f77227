"""Decisions of operators, applied to a whole pipeline in virtual time."""

import asyncio
from typing import Any

import pytest

from mpsd.core.control import Provenance
from mpsd.core.limits import Limit
from mpsd.core.outcome import DELIVERED
from mpsd.core.pauses import Pause, Scope
from tests.fakes.control import FakeControl
from tests.fakes.pipeline import Piped, piped
from tests.fakes.records import FAILED, LOST, PRODUCED_MS, REFUSED
from tests.fakes.stage import policy_rules

WHO = Provenance("ann", "broken", 0, "", "")
KEYS = [b"a", b"b", b"c", b"d"]


def pause(
    topic: str | None = None, partition: int | None = None, *, until_ms: int | None = None, key: bytes | None = None
) -> Pause:
    return Pause(scope=Scope("billing", topic, partition, key), until_ms=until_ms, revision=1, provenance=WHO)


def limit(rate: float | None = None, concurrency: int | None = None) -> Limit:
    return Limit(rate_max_per_s=rate, concurrency_max=concurrency, revision=1, provenance=WHO)


def states(at: Piped) -> dict[int, str]:
    return {part.partition: part.state for part in at.pipeline.statistics().partitions}


class Gate:
    """A control topic that is read when the test says so."""

    def __init__(self) -> None:
        self.reads: list[asyncio.Event] = []
        self.problem = ""

    async def read(self) -> None:
        self.reads.append(event := asyncio.Event())
        await event.wait()

    @property
    def control(self) -> FakeControl:
        return FakeControl(read=self.read, problem=lambda: self.problem)


# Assigned partitions


async def test_an_assigned_partition_waits_for_a_read_that_began_after_it() -> None:
    gate = Gate()
    async with piped(gate.control) as at:
        at.source.produce(*KEYS)
        at.source.produce(*KEYS, partition=1)
        at.source.produce(*KEYS, partition=2)
        at.source.assign(0)
        at.source.assign(1)
        await asyncio.sleep(1.0)
        assert (len(gate.reads), at.adapter.started) == (1, []), "one read serves both"
        said = at.pipeline.statistics()
        assert (said.state, said.reason) == ("waiting", "reading the control topic")
        assert states(at) == {0: "starting", 1: "starting"}
        at.source.assign(2)
        gate.reads[0].set()
        await asyncio.sleep(1.0)
        assert {started.partition for started in at.adapter.started} == {0, 1}, "2 came after the read had begun"
        assert len(gate.reads) == 2
        gate.reads[1].set()
        await asyncio.sleep(1.0)
        assert {started.partition for started in at.adapter.started} == {0, 1, 2}
        assert at.pipeline.statistics().state == "running"


async def test_a_read_that_ends_by_a_bug_is_not_waited_for_in_silence() -> None:
    async def broken() -> None:
        raise RuntimeError("the log has lost its place")

    async with piped(FakeControl(read=broken)) as at:
        at.feed(*KEYS)
        await asyncio.sleep(1)
        assert at.adapter.started == []
        assert (at.pipeline.state, at.pipeline.reason) == ("failed", "the log has lost its place")


async def test_a_pause_that_the_read_brings_holds_from_the_first_record_on() -> None:
    gate = Gate()
    async with piped(gate.control) as at:
        at.feed(*KEYS)
        await asyncio.sleep(1.0)
        at.pipeline.controls.set_pauses([pause()])
        gate.reads[0].set()
        await asyncio.sleep(1.0)
        assert (at.adapter.started, states(at)) == ([], {0: "paused"})


async def test_a_control_topic_out_of_reach_stops_nothing_that_runs_and_is_told() -> None:
    gate = Gate()
    async with piped(gate.control) as at:
        at.source.assign(0)
        await asyncio.sleep(0.1)
        gate.reads[0].set()
        gate.problem = "no broker"
        at.source.produce(*KEYS)
        await asyncio.sleep(1.0)
        assert len(at.adapter.started) == 4
        said = at.pipeline.statistics()
        assert (said.state, said.reason) == ("running", "no broker")
        at.source.assign(1)
        said = at.pipeline.statistics()
        assert (said.state, said.reason) == ("waiting", "no broker")


# Pauses


@pytest.mark.parametrize("scope", [(), ("orders",), ("orders", 0)])
async def test_a_pause_starts_no_delivery_and_reading_and_commits_go_on(scope: tuple[Any, ...]) -> None:
    async with piped(records_max=10) as at:
        at.adapter.takes_s = 0.5
        at.feed(*KEYS)
        await asyncio.sleep(0.1)
        assert len(at.adapter.in_flight) == 4
        at.pipeline.controls.set_pauses([pause(*scope)])
        at.source.produce(*KEYS * 5)
        await asyncio.sleep(10.0)
        assert len(at.adapter.started) == 4, "what was in flight finished, and nothing started"
        (part,) = at.pipeline.statistics().partitions
        assert (part.state, part.pending_records, part.committed, part.room_records) == ("paused", 10, 4, 0)
        at.pipeline.controls.set_pauses([])
        await at.adapter.until(lambda: len(at.adapter.started) == 24)
        assert sorted(at.adapter.offsets) == list(range(24))


async def test_a_pause_of_another_partition_or_topic_stops_nothing(at: Piped) -> None:
    at.pipeline.controls.set_pauses([pause("orders", 1), pause("bills")])
    at.feed(*KEYS)
    await asyncio.sleep(1.0)
    assert len(at.adapter.started) == 4


async def test_back_offs_suspects_and_probes_of_what_is_paused_wait() -> None:
    rules = policy_rules(lanes_min=2)
    for outcome in (FAILED, LOST, REFUSED):
        async with piped(rules=rules) as at:
            at.adapter.answer = lambda _, outcome=outcome: outcome  # type: ignore[misc]
            at.feed(*KEYS)
            await asyncio.sleep(0.05)
            begun = len(at.adapter.started)
            assert begun
            at.pipeline.controls.set_pauses([pause()])
            await asyncio.sleep(60.0)
            assert len(at.adapter.started) == begun, outcome
            at.adapter.answer = lambda _: DELIVERED
            at.pipeline.controls.set_pauses([])
            await asyncio.sleep(60.0)
            assert at.committed() == 4, outcome


async def test_a_paused_key_waits_in_order_and_the_others_flow(at: Piped) -> None:
    at.pipeline.controls.set_pauses([pause(key=b"b")])
    at.feed(*KEYS * 3)
    await asyncio.sleep(5.0)
    assert len(at.adapter.started) == 9
    (part,) = at.pipeline.statistics().partitions
    assert (part.state, part.paused_keys, part.paused_lanes) == ("running", {b"b"}, 1)
    assert (part.pending_records, part.next_offset) == (3, 1)
    at.pipeline.controls.set_pauses([])
    await asyncio.sleep(5.0)
    assert at.adapter.offsets[9:] == [1, 5, 9]
    assert at.committed() == 12


async def test_of_two_paused_keys_one_may_go_on_alone(at: Piped) -> None:
    at.pipeline.controls.set_pauses([pause(key=b"b"), pause(key=b"c")])
    at.feed(*KEYS)
    await asyncio.sleep(1.0)
    at.pipeline.controls.set_pauses([pause(key=b"c")])
    await asyncio.sleep(1.0)
    assert sorted(at.adapter.offsets) == [0, 1, 3]
    assert at.pipeline.statistics().partitions[0].paused_lanes == 1


async def test_suspects_of_a_paused_key_keep_their_place(at: Piped) -> None:
    at.adapter.answer = lambda _: None
    at.feed(*KEYS)
    await asyncio.sleep(0.1)
    at.pipeline.controls.set_pauses([pause(key=b"a")])
    at.adapter.answer = lambda _: DELIVERED
    at.adapter.crash()
    await asyncio.sleep(30.0)
    assert sorted(at.adapter.offsets[4:]) == [1, 2, 3]
    at.pipeline.controls.set_pauses([])
    await asyncio.sleep(30.0)
    assert at.adapter.offsets[-1] == 0
    assert at.committed() == 4


async def test_a_pause_with_an_end_ends_by_itself(at: Piped) -> None:
    at.source.produce(*KEYS)
    at.pipeline.controls.set_pauses([pause(until_ms=PRODUCED_MS + 200_000), pause(until_ms=PRODUCED_MS + 90_000)])
    at.source.assign()
    await asyncio.sleep(199.0)
    assert not at.adapter.started
    await asyncio.sleep(2.0)
    assert len(at.adapter.started) == 4


async def test_what_is_paused_does_not_expire_before_its_time_comes() -> None:
    async with piped(rules=policy_rules(record_age_max_s=10.0)) as at:
        at.source.produce(*KEYS)
        at.pipeline.controls.set_pauses([pause()])
        at.source.assign()
        await asyncio.sleep(60.0)
        assert not at.sink.dead_letters
        at.pipeline.controls.set_pauses([])
        await asyncio.sleep(1.0)
        assert len(at.sink.dead_letters) == 4


# Limits


async def test_a_limit_stands_in_for_what_is_configured_until_it_is_taken_back() -> None:
    async with piped(rate_max_per_s=100.0) as at:
        at.pipeline.on_share(0.5)
        at.pipeline.controls.set_limit(limit(rate=4.0))
        at.feed(*[b"%d" % number for number in range(2_000)])
        await asyncio.sleep(10.0)
        assert len(at.adapter.started) == pytest.approx(20, abs=2), "its share of four in each second"
        assert at.pipeline.statistics().limit == limit(rate=4.0)
        at.pipeline.controls.set_limit(None)
        before = len(at.adapter.started)
        await asyncio.sleep(10.0)
        assert len(at.adapter.started) - before == pytest.approx(500, abs=10)
        at.pipeline.controls.set_limit(limit(rate=0))
        await asyncio.sleep(1.0)
        assert len(at.adapter.started) == 2_000, "0 is none"


async def test_a_limit_of_concurrency_holds_from_then_on(at: Piped) -> None:
    at.pipeline.controls.set_limit(limit(concurrency=3))
    at.feed(*[b"%d" % number for number in range(100)])
    await asyncio.sleep(0.1)
    assert at.adapter.in_flight_most == 3
    at.pipeline.controls.set_limit(limit())
    await asyncio.sleep(1.0)
    assert at.adapter.in_flight_most > 3
