"""Request ids and confirmations of every change, over real channels and the real control state on a topic in memory."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from mps.admin.v1 import admin_pb2 as pb
from mpsd.core.brake import BRAKE, BrakeRecord, BrakeState
from mpsd.core.control import ControlState, OfSubscription
from tests.fakes.control import FakeControlTopic
from tests.fakes.replays import FakeDeadLetterLog, dead_letter
from tests.fakes.steerable import Served, served
from tests.unit.admin.test_servicer import billing, change, hold, refused

BILLING = pb.ReplayPlan(subscription="billing")
ORDER_0 = pb.RecordRef(topic="orders", partition=0, offset=0)


def methods(*instances: Served) -> list[str]:
    """Return the methods in the histories."""
    return [entry.method for one in instances for entry in one.daemon.control.kept.entries]


async def started(one: Served, request_id: str = "start", **plan: Any) -> pb.StartReplayResponse:
    plan = {"subscription": "billing", "rate_max_per_s": 0.01, **plan}
    request = pb.StartReplayRequest(change=change(request_id=request_id), plan=pb.ReplayPlan(**plan))
    answer: pb.StartReplayResponse = await one.stub.StartReplay(request)
    return answer


async def brake_engages(one: Served) -> None:
    """Let the control topic say that the endpoint of billing rejects everything."""
    said = BrakeRecord(
        state=BrakeState.ENGAGED, since_ms=1_000, at_ms=2_000, rejections=100, reason="no such field", writer=7
    )
    await one.daemon.control.record([(BRAKE.entity_key("billing", OfSubscription("billing")), BRAKE.document(said))])


def turn(task: str, action: "pb.ReplayAction.ValueType", request_id: str, **more: Any) -> pb.ControlReplayRequest:
    return pb.ControlReplayRequest(change=change(request_id=request_id, **more), id=task, action=action)


def dead_letters() -> FakeDeadLetterLog:
    return FakeDeadLetterLog(*(dead_letter(number, 100 + number) for number in range(5)))


CHANGES: dict[str, Callable[[pb.Change], Any]] = {
    "Pause": lambda of: pb.PauseRequest(change=of, selection=billing(), lasts=Duration(seconds=600)),
    "Resume": lambda of: pb.ResumeRequest(change=of, selection=billing()),
    "Limit": lambda of: pb.LimitRequest(change=of, subscription="billing", rate_max_per_s=5),
    "AcceptRejections": lambda of: pb.AcceptRejectionsRequest(change=of, subscription="billing"),
    "Reset": lambda of: pb.ResetRequest(change=of, subscription="billing", edge=pb.LOG_EDGE_EARLIEST),
    "StartReplay": lambda of: pb.StartReplayRequest(change=of, plan=BILLING),
    "ControlReplay": lambda of: pb.ControlReplayRequest(change=of, action=pb.REPLAY_ACTION_PAUSE),
    "Skip": lambda of: pb.SkipRequest(change=of, subscription="billing", record=ORDER_0),
}
"""One of every method that changes something."""


def test_every_change_is_tried() -> None:
    fields = {
        method.name: method.input_type.fields_by_name for method in pb.DESCRIPTOR.services_by_name["Admin"].methods
    }
    assert {name for name, known in fields.items() if "change" in known} == CHANGES.keys()


@pytest.mark.parametrize("method", CHANGES)
async def test_a_change_asked_for_twice_is_made_once_whoever_is_asked_and_over_restarts(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mpsd.control")
    topic = FakeControlTopic()
    request = CHANGES[method](change())
    async with served(2, topic=topic, dead_letters=dead_letters()) as (one, other):
        await hold(other, b"a", b"b")
        other.pipe.adapter.crash()
        if method == "ControlReplay":
            request.id = (await started(one)).replay.id
        if method == "Resume":
            await one.stub.Pause(CHANGES["Pause"](change(request_id="pause")))
        if method == "AcceptRejections":
            await brake_engages(one)
        answers = [await getattr(each.stub, method)(request) for each in (one, other)]
        assert methods(one, other).count(method) == 1
        written = sum(b"r1" in dict(record.headers).values() for record in topic.records)
    async with served(1, topic=topic, dead_letters=dead_letters()) as (later,):
        answers.append(await getattr(later.stub, method)(request))
        assert methods(later) == []
        assert sum(b"r1" in dict(record.headers).values() for record in topic.records) == written == 1
    assert len({_decided(answer) for answer in answers}) == 1
    lines = [each.message for each in caplog.records if getattr(each, "code", "") == "control.changed"]
    assert sum(line.startswith(f"{method} by local") for line in lines) == 1


def _decided(answer: Any) -> Any:
    return answer.changed.revision if hasattr(answer, "changed") else answer.SerializeToString()


def _by_operators(topic: FakeControlTopic) -> int:
    """Count the records that operators wrote; a started replay reports by itself."""
    return sum(("mps-who", b"mpsd") not in record.headers for record in topic.records)


@pytest.mark.parametrize("method", CHANGES)
async def test_an_id_that_stands_for_something_else_changes_nothing(method: str) -> None:
    topic = FakeControlTopic()
    request = CHANGES[method](change())
    async with served(1, topic=topic, dead_letters=dead_letters()) as (one,):
        await hold(one, b"a")
        if method == "ControlReplay":
            request.id = (await started(one)).replay.id
        used = pb.PauseRequest(change=change(), selection=billing(topic="orders", partition=1))
        await one.stub.Pause(used)
        if method == "Resume":
            await one.stub.Pause(CHANGES["Pause"](change(request_id="pause")))
        before = _by_operators(topic)
        code, _, info, _ = await refused(getattr(one.stub, method)(request))
        assert (code, info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "control.request_id_reused")
        assert _by_operators(topic) == before
        assert one.pipe.queues[0].tracker.unfinished


async def test_rejections_are_accepted_where_the_brake_has_engaged_and_else_nothing_changes() -> None:
    topic = FakeControlTopic()
    async with served(2, topic=topic) as (one, other):
        request = CHANGES["AcceptRejections"](change())
        answer = await one.stub.AcceptRejections(request)
        assert answer.changed.unchanged
        assert not methods(one, other)
        await brake_engages(one)
        answer = await other.stub.AcceptRejections(CHANGES["AcceptRejections"](change(request_id="again")))
        assert answer.changed.confirmed
        assert not answer.changed.unchanged
        said = (await one.stub.GetStatus(pb.GetStatusRequest())).status.subscriptions[0]
        assert said.endpoint.rejections_accepted
        assert said.state == "running"


async def test_an_id_of_a_skip_skips_nothing_else_also_without_a_control_topic() -> None:
    async with served() as (one,):
        await hold(one, b"a", b"b")
        one.pipe.adapter.crash()
        request = CHANGES["Skip"](change())
        await one.stub.Skip(request)
        one.daemon.control.state = ControlState(["billing"])
        request.record.offset = 1
        assert (await refused(one.stub.Skip(request)))[0] == grpc.StatusCode.ALREADY_EXISTS


async def test_who_gives_up_on_a_change_does_not_take_it_from_the_history() -> None:
    async with served(1) as (one,):
        await hold(one, b"a")
        one.pipe.adapter.crash()
        one.pipe.sink.takes_s = 0.2
        call = one.stub.Skip(CHANGES["Skip"](change()))
        for _ in range(100):
            if one.pipe.pipeline.writer.skips:
                break
            await asyncio.sleep(0.01)
        call.cancel()
        for _ in range(200):
            if methods(one):
                break
            await asyncio.sleep(0.01)
        assert methods(one) == ["Skip"]


async def test_a_replay_is_confirmed_by_all_in_all_it_is_told() -> None:
    async with served(3, dead_letters=dead_letters()) as (one, other, _):
        answer = await started(one)
        changes = [answer.changed]
        for number, action in enumerate((pb.REPLAY_ACTION_PAUSE, pb.REPLAY_ACTION_RESUME, pb.REPLAY_ACTION_CANCEL)):
            told = await other.stub.ControlReplay(turn(answer.replay.id, action, f"turn {number}"))
            changes.append(told.changed)
            assert told.replay.provenance.revision == told.changed.revision
        for changed in changes:
            assert changed.confirmed
            assert len(changed.instances) == 3
            assert all(each.control_revision >= changed.revision for each in changed.instances)


@pytest.mark.parametrize("silent", [0, 1])
async def test_a_replay_that_not_all_know_of_is_started_and_not_confirmed(silent: int) -> None:
    async with served(
        2,
        dead_letters=dead_letters(),
        silent=silent,
        confirm_timeout_s=1.0,
        peer_timeout_s=0.5,
    ) as (one, other):
        other.daemon.control.follows = bool(silent)
        answer = await started(one)
        assert not answer.changed.confirmed
        missing = [each for each in answer.changed.instances if each.control_revision < answer.changed.revision]
        assert [each.answered for each in missing] == [not silent]
        assert answer.replay.state == pb.REPLAY_STATE_RUNNING
        other.daemon.control.follows = True
        again = await started(one)
        assert (again.replay.id, again.changed.confirmed) == (answer.replay.id, not silent)


async def test_a_replay_that_was_cancelled_elsewhere_is_not_brought_back_by_who_has_not_heard_of_it() -> None:
    async with served(2, dead_letters=dead_letters(), confirm_timeout_s=0.1) as (one, other):
        task = (await started(one)).replay.id
        one.daemon.control.follows = False
        await other.stub.ControlReplay(turn(task, pb.REPLAY_ACTION_CANCEL, "first"))
        code, words, _, _ = await refused(one.stub.ControlReplay(turn(task, pb.REPLAY_ACTION_PAUSE, "late")))
        assert (code, "is cancelled" in words) == (grpc.StatusCode.FAILED_PRECONDITION, True)


@pytest.mark.parametrize("action", [pb.REPLAY_ACTION_PAUSE, pb.REPLAY_ACTION_CANCEL])
async def test_a_replay_that_is_so_already_is_not_turned_again(action: pb.ReplayAction.ValueType) -> None:
    topic = FakeControlTopic()
    async with served(2, topic=topic, dead_letters=dead_letters()) as (one, other):
        task = (await started(one)).replay.id
        first = await one.stub.ControlReplay(turn(task, action, "first"))
        written = _by_operators(topic)
        second = await other.stub.ControlReplay(turn(task, action, "second"))
        assert _by_operators(topic) == written
        assert (first.changed.unchanged, second.changed.unchanged, second.changed.confirmed) == (False, True, True)
        assert second.replay.ended_at == first.replay.ended_at
        assert second.replay.provenance.reason == first.replay.provenance.reason
        repeated = await one.stub.ControlReplay(turn(task, action, "first"))
        assert not repeated.changed.unchanged, "it is the request that did it"


async def test_a_pause_over_another_says_whose_it_replaces() -> None:
    async with served(2) as (one, other):
        first = await one.stub.Pause(
            pb.PauseRequest(change=change(request_id="a", reason="deploy"), selection=billing())
        )
        assert not first.changed.HasField("replaced")
        lasts = Duration(seconds=1, nanos=500_000_000)
        over = pb.PauseRequest(change=change(request_id="b", reason="mine"), selection=billing(), lasts=lasts)
        assert (await other.stub.Pause(over)).changed.replaced.provenance.reason == "deploy"
        second = (await other.stub.Pause(over)).changed
        assert second.confirmed
        assert not second.HasField("replaced"), "the same request again replaces nothing"
        third = pb.PauseRequest(change=change(request_id="c"), selection=billing(topic="orders"))
        assert not (await one.stub.Pause(third)).changed.HasField("replaced"), "another selection is another pause"
        assert [entry.description for entry in other.daemon.control.kept.entries] == [
            "pause of billing for 1.5 s, in place of the pause by local"
        ]


@pytest.mark.parametrize(
    ("lasts", "text"),
    [
        (Duration(seconds=1, nanos=500_000_000), "1.5 s"),
        (Duration(seconds=1, nanos=1_000_000), "1.001 s"),
        (Duration(seconds=100_000, nanos=500_000_000), "100000.5 s"),
        (Duration(seconds=30 * 86_400), "2592000 s"),
    ],
)
async def test_the_history_says_how_long_a_pause_lasts_to_the_millisecond(lasts: Duration, text: str) -> None:
    async with served() as (one,):
        before_ms = int(one.daemon.clock.wall_s() * 1000)
        pause = pb.PauseRequest(change=change(request_id="a"), selection=billing(), lasts=lasts)
        await one.stub.Pause(pause)
        assert [entry.description for entry in one.daemon.control.kept.entries] == [f"pause of billing for {text}"]
        ((_, document, _),) = one.daemon.control.changes
        assert document is not None
        assert document["until_ms"] >= before_ms + lasts.ToMilliseconds()


async def test_a_replay_is_turned_only_as_it_was_when_the_caller_looked() -> None:
    async with served(1, dead_letters=dead_letters()) as (one,):
        replay = (await started(one)).replay
        seen = replay.provenance.revision
        pause = turn(replay.id, pb.REPLAY_ACTION_PAUSE, "first", expected_revision=seen)
        await one.stub.ControlReplay(pause)
        late = turn(replay.id, pb.REPLAY_ACTION_CANCEL, "late", expected_revision=seen)
        code, _, info, _ = await refused(one.stub.ControlReplay(late))
        assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "control.revision_conflict")
        found = (await one.stub.GetReplay(pb.GetReplayRequest(id=replay.id))).replay
        assert found.state == pb.REPLAY_STATE_PAUSED


async def test_who_asked_for_a_skip_is_known_to_the_instance_that_makes_it() -> None:
    async with served(2) as (one, other):
        await hold(other, b"a")
        other.pipe.adapter.crash()
        await one.stub.Skip(CHANGES["Skip"](change()))
        assert [entry.provenance.who for entry in other.daemon.control.kept.entries] == ["local by way of local"]
