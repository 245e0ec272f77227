"""Blocked keys over the admin service: how many there are, what is refused of them, and a skip that lets one go."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.blocked_skips import skip_blocked
from mpsd.admin.calls import CALL, Call
from mpsd.admin.replay_tasks import ReplayRoom
from mpsd.core.delivery import Delivery
from mpsd.core.outcome import DELIVERED, Outcome
from mpsd.errors import RecordNotHere
from mpsd.listeners.rights import Caller, Role
from tests.fakes.blocked_keys import ReadableDeadLetters
from tests.fakes.records import POISON
from tests.fakes.replays import FakeDeadLetterLog
from tests.fakes.steerable import Served, served
from tests.unit.admin.test_servicer import change, refused

SUBSCRIPTION = pb.GetStatusRequest(subscription="billing", partitions=True)


@asynccontextmanager
async def holding(keys_max: int = 100) -> AsyncIterator[tuple[Served, Served]]:
    """Two daemons; the first has the partition. Its second record has died, and two are blocked behind it."""
    log = FakeDeadLetterLog()
    sink = ReadableDeadLetters(log)
    async with served(2, dead_letters=log, sink=sink, blocked_keys_max=keys_max) as (
        one,
        other,
    ):

        def answer(delivery: Delivery) -> Outcome:
            return POISON if delivery.record.offset == 1 else DELIVERED

        one.pipe.adapter.answer = answer
        one.pipe.source.produce(b"k", b"k", b"k", b"k", b"other")
        one.pipe.source.assign()
        await until_offsets(one, [0, 1, 4])
        await until(lambda: len(sink.dead_letters) == 3)
        await until(lambda: blocked_keys(one) == blocked_keys(other) == 1)
        yield one, other


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10.0):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


async def until_offsets(one: Served, offsets: list[int]) -> None:
    """In any order of different keys."""
    await until(lambda: sorted(one.pipe.adapter.offsets) == offsets)


def blocked_keys(one: Served) -> int:
    return one.pipe.pipeline.statistics().blocked_keys


def succeeded(one: Served, replay: str) -> int:
    assert one.pipe.pipeline.replays is not None
    book = one.pipe.pipeline.replays.book
    return book.total(book.tasks[replay]).counts.succeeded


def skip(offset: int, request_id: str = "r1") -> pb.SkipRequest:
    record = pb.RecordRef(topic="orders", partition=0, offset=offset)
    return pb.SkipRequest(change=change(request_id=request_id), subscription="billing", record=record)


async def test_every_instance_says_how_many_keys_are_held_and_they_are_not_added_up() -> None:
    async with holding() as (one, other):
        for asked in (one, other):
            (said,) = (await asked.stub.GetStatus(SUBSCRIPTION)).status.subscriptions
            assert (said.blocked_keys, [part.blocked_keys for part in said.partitions]) == (1, [1])


@pytest.mark.parametrize(
    ("keys_max", "severity", "code"),
    [(100, pb.SEVERITY_OK, ""), (1, pb.SEVERITY_WARNING, "blocked_key.full")],
)
async def test_a_check_up_says_when_there_is_little_room_left(keys_max: int, severity: int, code: str) -> None:
    async with holding(keys_max) as (one, _):
        findings = (await one.stub.Diagnose(pb.DiagnoseRequest(scope=pb.SCOPE_INSTANCE))).findings
        (found,) = [each for each in findings if "blocked" in each.message]
        assert (found.severity, found.code, found.subject) == (severity, code, "billing")
        assert f"1 keys are blocked behind dead letters, and ordering.blocked_keys_max is {keys_max}" in found.message
        assert bool(found.advice) is bool(code)


async def test_back_into_the_topic_they_would_only_be_held_again() -> None:
    plan = pb.ReplayPlan(subscription="billing", target=pb.REPLAY_TARGET_TOPIC)
    async with holding() as (one, _):
        for call in (
            one.stub.PreviewReplay(pb.PreviewReplayRequest(plan=plan)),
            one.stub.StartReplay(pb.StartReplayRequest(change=change(), plan=plan)),
        ):
            code, said, _, _ = await refused(call)
            assert code == grpc.StatusCode.FAILED_PRECONDITION
            assert "replay to the application" in said


async def test_the_dead_letter_is_skipped_and_the_rest_of_its_key_delivered_whoever_is_asked() -> None:
    async with holding() as (one, other):
        answer = await other.stub.Skip(skip(1))
        assert (answer.dead_letter, answer.blocked_records) == (pb.RecordRef(topic="letters", partition=0, offset=0), 2)
        await until_offsets(one, [0, 1, 2, 3, 4])
        again = [await each.stub.Skip(skip(1)) for each in (one, other)]
        assert {(each.dead_letter.offset, each.replay_id) for each in again} == {(0, answer.replay_id)}
        await until(lambda: blocked_keys(one) == blocked_keys(other) == 0)
        one.pipe.source.produce(b"k")
        await until_offsets(one, [0, 1, 2, 3, 4, 5])
        await until(lambda: succeeded(other, answer.replay_id) == 2)
        reasons = [
            entry.provenance.reason for entry in one.daemon.control.kept.entries if entry.method == "StartReplay"
        ]
        assert reasons == ["orders/0@1 is skipped: the endpoint is on fire"]


async def test_the_answer_is_the_same_where_the_first_was_lost_before_it_was_kept() -> None:
    CALL.set(Call(Caller("anna", Role.OPERATOR)))
    async with holding() as (one, _):
        room = ReplayRoom(one.daemon)
        first, again = [
            await skip_blocked(one.daemon, room, one.pipe.pipeline, skip(1), RecordNotHere("it is in no queue"))
            for _ in range(2)
        ]
        assert (again.dead_letter, again.replay_id) == (first.dead_letter, first.replay_id)
        assert (first.blocked_records, again.HasField("blocked_records")) == (2, False)


async def test_what_holds_nothing_is_refused_with_what_does() -> None:
    async with holding() as (one, other):
        code, said, _, _ = await refused(other.stub.Skip(skip(3)))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "orders/0@1 does; skip that" in said
        code, said, _, _ = await refused(one.stub.Skip(skip(0)))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "settled" in said
