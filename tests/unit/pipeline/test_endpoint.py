"""Reports on an endpoint at which nothing succeeds, and its brake in the control topic; in virtual time."""

import asyncio
import logging
from dataclasses import replace

import pytest

from mpsd.core.brake import BRAKE, BrakeRecord, BrakeState
from mpsd.core.breaker import EndpointState
from mpsd.core.control import Entity, OfSubscription, Provenance
from mpsd.core.outcome import DELIVERED, Outcome
from mpsd.core.states import DeliveryState
from mpsd.errors import ControlUnavailable
from mpsd.ports import Items
from tests.fakes.control import FakeControl
from tests.fakes.pipeline import Piped, piped
from tests.fakes.records import FAILED, POISON, REFUSED
from tests.fakes.stage import policy_rules

WHO = Provenance("mpsd", "", 0, "", "")
KEYS = [b"%d" % number for number in range(20)]
RULES = policy_rules()
BRAKED = replace(RULES, breaker=replace(RULES.breaker, rejections_max=4, rejection_lanes_min=3))


class Topic:
    """A control topic that remembers what is written, and fails so often before it does."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.written: list[BrakeRecord] = []

    async def record(self, items: Items) -> int:
        if self.failures:
            self.failures -= 1
            raise ControlUnavailable("no answer")
        for _, said in items:
            assert said is not None
            found = BRAKE.parse(KEY, Entity(document=said, revision=len(self.written) + 1, provenance=WHO))
            assert found is not None
            self.written.append(found)
        return len(self.written)

    @property
    def control(self) -> FakeControl:
        return FakeControl(write=self.record)

    @property
    def states(self) -> list[BrakeState]:
        return [each.state for each in self.written]


KEY = BRAKE.entity_key("billing", OfSubscription("billing"))


def brake(state: BrakeState, *, writer: int = 7, at_ms: int = 1 << 50) -> BrakeRecord:
    said = BrakeRecord(state=state, since_ms=1_000, at_ms=at_ms, rejections=100, reason="no such field", writer=writer)
    found = BRAKE.parse(KEY, Entity(document=BRAKE.document(said), revision=1, provenance=WHO))
    assert found is not None
    return found


def state(at: Piped) -> EndpointState:
    return at.pipeline.statistics().endpoint.state


async def fed(at: Piped, answer: Outcome) -> None:
    """All twenty keys are answered so."""
    at.adapter.answer = lambda _: answer
    at.feed(*KEYS)
    await asyncio.sleep(10.0)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and code of each line on an endpoint."""
    lines = [each for each in caplog.records if each.name == "mpsd.endpoint"]
    return [(each.levelname, str(vars(each)["code"])) for each in lines]


# Outages


async def test_an_outage_and_its_end_are_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with piped() as at:
        await fed(at, REFUSED)
        assert told(caplog) == [("ERROR", "endpoint.out")]
        line = next(each for each in caplog.records if each.name == "mpsd.endpoint")
        assert "http://127.0.0.1:8000/orders is out" in line.getMessage()
        assert "nobody listens" in line.getMessage()
        assert vars(line)["waiting_records"] == 20
        said = at.pipeline.statistics()
        assert (said.endpoint.state, said.endpoint.reason, said.endpoint.outages) == (
            "endpoint-out",
            "nobody listens",
            1,
        )
        assert said.situation().state is DeliveryState.ENDPOINT_OUT
        assert said.endpoint.since_ms > 0
        at.adapter.answer = lambda _: DELIVERED
        await asyncio.sleep(10.0)
        assert told(caplog) == [("ERROR", "endpoint.out"), ("WARNING", "endpoint.back")]
        assert 8.0 < vars(caplog.records[-1])["lasted_s"] < 12.0
        assert at.committed() == 20
        assert at.pipeline.statistics().endpoint.since_ms == 0


async def test_failures_of_every_kind_spend_nothing_and_are_committed_so(at: Piped) -> None:
    await fed(at, FAILED)
    assert state(at) == "endpoint-out"
    (queue,) = at.queues
    assert {each.failures.attempts for each in queue.tracker.unfinished.values() if each.failures is not None} == {0}
    assert at.sink.dead_letters == []


# The brake


async def test_the_brake_is_written_to_the_control_topic_and_so_is_its_release(
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = Topic()
    async with piped(topic.control, rules=BRAKED) as at:
        await fed(at, POISON)
        assert (state(at), len(at.sink.dead_letters)) == ("all-rejected", 4)
        assert at.pipeline.statistics().situation().state is DeliveryState.ALL_REJECTED
        assert topic.states == [BrakeState.ENGAGED]
        assert (topic.written[0].rejections, topic.written[0].reason) == (4, "no such customer")
        assert "mpsctl accept-rejections billing" in caplog.text
        at.adapter.answer = lambda _: DELIVERED
        await asyncio.sleep(10.0)
        assert topic.states == [BrakeState.ENGAGED, BrakeState.RELEASED]
        assert (state(at), len(at.sink.dead_letters), at.committed()) == ("up", 4, 20)


async def test_a_brake_holds_though_the_control_topic_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    topic = Topic(failures=3)
    async with piped(topic.control, rules=BRAKED) as at:
        await fed(at, POISON)
        assert (state(at), len(at.sink.dead_letters)) == ("all-rejected", 4)
        assert "cannot write the brake to the control topic: no answer; trying again" in caplog.text
        assert topic.states == [BrakeState.ENGAGED]


async def test_without_a_control_topic_the_brake_holds_in_this_process() -> None:
    async with piped(rules=BRAKED) as at:
        await fed(at, POISON)
        assert (state(at), len(at.sink.dead_letters)) == ("all-rejected", 4)


async def test_a_brake_of_before_a_restart_lets_nothing_be_dead_lettered() -> None:
    topic = Topic()
    async with piped(topic.control, rules=BRAKED) as at:
        at.pipeline.set_brake(brake(BrakeState.ENGAGED))
        await fed(at, POISON)
        assert (state(at), at.sink.dead_letters) == ("all-rejected", [])
        said = at.pipeline.statistics().endpoint
        assert (said.since_ms, said.rejections) == (1_000, 100)
        assert topic.states == [], "it is there already"


async def test_what_this_process_wrote_itself_does_not_come_back_to_it() -> None:
    topic = Topic()
    async with piped(topic.control, rules=BRAKED) as at:
        await fed(at, POISON)
        own = topic.written[0]
        at.adapter.answer = lambda _: DELIVERED
        await asyncio.sleep(10.0)
        at.pipeline.set_brake(own)
        assert state(at) == "up"


async def test_accepted_rejections_are_dead_lettered_until_a_success_and_then_the_brake_engages_again() -> None:
    topic = Topic()
    async with piped(topic.control, rules=BRAKED) as at:
        await fed(at, POISON)
        at.pipeline.set_brake(brake(BrakeState.ACCEPTED, writer=0))
        await asyncio.sleep(60.0)
        assert (state(at), len(at.sink.dead_letters)) == ("up", 20)
        assert at.pipeline.statistics().endpoint.is_accepted
        at.adapter.answer = lambda delivery: DELIVERED if delivery.record.offset == 20 else POISON
        at.source.produce(b"good", b"a", b"b", b"c", b"d", b"e", b"f")
        await asyncio.sleep(60.0)
        assert (state(at), len(at.sink.dead_letters)) == ("all-rejected", 24)
        assert topic.states == [BrakeState.ENGAGED] * 2, "released and engaged again within one turn of the loop"


async def test_a_success_at_another_daemon_releases_the_brake_here() -> None:
    topic = Topic()
    async with piped(topic.control, rules=BRAKED) as at:
        await fed(at, POISON)
        at.pipeline.set_brake(brake(BrakeState.RELEASED))
        assert state(at) == "up"
        assert at.pipeline.endpoint.brake is not None
        at.pipeline.set_brake(None)
        assert at.pipeline.endpoint.brake is None


async def test_a_success_before_the_brake_engaged_does_not_release_it() -> None:
    """The brake was on its way through the control topic, and is written there again."""
    topic = Topic()
    async with piped(topic.control, rules=BRAKED) as at:
        await fed(at, POISON)
        at.pipeline.set_brake(brake(BrakeState.RELEASED, at_ms=1))
        await asyncio.sleep(1.0)
        assert state(at) == "all-rejected"
        assert topic.states == [BrakeState.ENGAGED] * 2
