"""Replays by the admin service: what one would do, and when none is started."""

import asyncio
from dataclasses import replace

import grpc
import pytest

from mps.admin.v1 import admin_pb2 as pb
from mpsd.core.record import TopicPartition
from mpsd.core.replay_progress import Replayed
from mpsd.pipeline.replay.tasks import Replays
from tests.fakes.pipeline import piped
from tests.fakes.records import FAILED, POISON, PRODUCED_MS
from tests.fakes.replays import FakeDeadLetterLog, dead_letter
from tests.fakes.steerable import Served, served

HOUR_MS = 3_600_000


def replays_of(one: Served) -> Replays:
    replays = one.pipe.pipeline.replays
    assert replays is not None
    return replays


async def started(one: Served, request_id: str, name: str = "billing") -> pb.Replay:
    request = pb.StartReplayRequest(
        change=pb.Change(request_id=request_id, reason="a test"), plan=pb.ReplayPlan(subscription=name)
    )
    answer: pb.StartReplayResponse = await one.stub.StartReplay(request, timeout=10)
    return answer.replay


async def test_a_dry_run_counts_by_reason_key_and_time_with_ten_samples_and_how_long_it_takes() -> None:
    rows = [
        dead_letter(n, n, b"ab"[n % 4 == 0 :][:1], last=POISON if n < 9 else FAILED, at_ms=PRODUCED_MS + n * HOUR_MS)
        for n in range(12)
    ]
    log = FakeDeadLetterLog(*rows, dead_letter(12, 12, replays=3))
    async with served(dead_letters=log) as [one]:
        plan = pb.ReplayPlan(subscription="billing", rate_max_per_s=4.0)
        seen = await one.stub.PreviewReplay(pb.PreviewReplayRequest(plan=plan), timeout=10)
        assert (seen.matched_records, seen.quarantined_records, seen.takes.seconds) == (12, 1, 3)
        assert (seen.keys, seen.largest_key_records) == (2, 9)
        groups = [(group.name, group.records) for group in seen.groups]
        assert groups == [(POISON.reason, 9), (FAILED.reason, 3)]
        spans = [(group.first_at.ToMilliseconds(), group.last_at.ToMilliseconds()) for group in seen.groups]
        assert spans == [
            (PRODUCED_MS, PRODUCED_MS + 8 * HOUR_MS),
            (PRODUCED_MS + 9 * HOUR_MS, PRODUCED_MS + 11 * HOUR_MS),
        ]
        assert len(seen.samples) == 10
        assert not replays_of(one).book.tasks, "nothing is started"


async def test_where_what_was_replayed_takes_too_much_to_remember_a_new_one_is_refused_with_the_reason() -> None:
    async with served(dead_letters=FakeDeadLetterLog(dead_letter(0, 0))) as [one]:
        replays = replays_of(one)
        place = (TopicPartition("orders", 2), 0)
        replays.book.see_settled(place, Replayed(epoch=1, base=0, offsets="A" * replays.rules.replayed_bytes_max))
        with pytest.raises(
            grpc.aio.AioRpcError, match=r"orders/2 takes 262144 bytes.*control\.replayed_bytes_max"
        ) as no:
            await started(one, "one")
        assert no.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert not replays.book.tasks


async def test_the_oldest_that_has_ended_gives_way_and_where_none_has_a_new_one_is_refused() -> None:
    async with served(dead_letters=FakeDeadLetterLog(dead_letter(0, 0))) as [one]:
        replays = replays_of(one)
        replays.rules = replace(replays.rules, tasks_max=2)
        first, second = await started(one, "one"), await started(one, "two")
        replays.rules = replace(replays.rules, tasks_max=1)
        with pytest.raises(grpc.aio.AioRpcError, match=r"2 replays have not ended, and control\.replays_max is 1:"):
            await started(one, "three")
        replays.rules = replace(replays.rules, tasks_max=2)
        cancel = pb.ControlReplayRequest(
            change=pb.Change(request_id="four", reason="a test"), id=first.id, action=pb.REPLAY_ACTION_CANCEL
        )
        await one.stub.ControlReplay(cancel, timeout=10)
        third = await started(one, "three")
        assert set(replays.book.tasks) == {second.id, third.id}


async def test_replays_that_are_started_at_the_same_moment_are_counted_one_after_the_other() -> None:
    async with served(dead_letters=FakeDeadLetterLog(dead_letter(0, 0))) as [one]:
        replays = replays_of(one)
        replays.rules = replace(replays.rules, tasks_max=2)
        answers = await asyncio.gather(*(started(one, f"{n}") for n in range(4)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert [error.code() for error in refused] == [grpc.StatusCode.FAILED_PRECONDITION] * 2
        assert len(replays.book.tasks) == 2


async def test_replays_of_all_subscriptions_are_counted_together_and_the_oldest_that_has_ended_gives_way() -> None:
    async with served(dead_letters=FakeDeadLetterLog(dead_letter(0, 0))) as [one]:
        replays, control = replays_of(one), one.daemon.control
        replays.rules = replace(replays.rules, tasks_max=1)
        async with piped(control, replays.rules, name="mail") as other:
            one.daemon.pipes = [one.pipe, other]
            first = await started(one, "one")
            with pytest.raises(grpc.aio.AioRpcError, match=r"1 replays have not ended"):
                await started(one, "two", "mail")
            cancel = pb.ControlReplayRequest(
                change=pb.Change(request_id="three", reason="a test"), id=first.id, action=pb.REPLAY_ACTION_CANCEL
            )
            await one.stub.ControlReplay(cancel, timeout=10)
            second = await started(one, "two", "mail")
            kept = await one.stub.ListReplays(pb.ListReplaysRequest(), timeout=10)
            assert [each.id for each in kept.replays] == [second.id]
