"""Replays of dead letters on a real Kafka: over a rebalance, back into the topic, and when the dead-letter topic goes away."""

from collections import Counter
from typing import Any

import grpc
import pytest

from mps.admin.v1 import admin_pb2 as pb
from mps.admin.v1.admin_pb2_grpc import AdminStub
from mpsd.core.record import TopicPartition
from mpsd.core.replay import ReplayPlan, ReplayState, ReplayTarget
from tests.integration.world import Answer, Message, World, until
from tests.integration.world.mpsctl import mpsctl, seen
from tests.integration.world.operator import operator
from tests.integration.world.replays import POISON, Seen, all_are_dead, dead_letters, ended, start, tables, totals
from tests.integration.world.world import name

pytestmark = pytest.mark.integration


async def test_over_a_rebalance_and_a_clean_stop_nothing_is_repeated(world: World) -> None:
    topic, control = await world.create_topic(4), name("control")
    await dead_letters(world, topic, 600, 50, control)
    first = world.daemons[0]
    seen = Seen(world)
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        task = await start(world, at, topic, ReplayPlan(rate_max_per_s=100.0))
        await until(lambda: len(seen.all) >= 100, "it has begun")
        second = await world.start_daemon(world.subscription(topic), **tables(control))
        await until(lambda: len(seen.all) >= 250, "both replay")
        assert await first.stop() == 0
        total = totals(at, await ended(at, task))
    assert set(seen.times().values()) == {1}
    assert len(seen.all) == 600
    assert seen.is_ordered()
    assert total.counts.succeeded == 600
    assert await second.stop() == 0


async def test_the_topic_is_deleted_meanwhile(world: World) -> None:
    topic, control = await world.create_topic(2), name("control")
    await dead_letters(world, topic, 1_500, 50, control)
    daemon = world.daemons[0]
    seen = Seen(world)
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        task = await start(world, at, topic, ReplayPlan(rate_max_per_s=50.0))
        await until(lambda: len(seen.all) >= 20, "it has begun")
        await world.kafka.topics.delete([f"{topic}.dlq"])
        failed = await ended(at, task, ReplayState.FAILED)
    assert f"{topic}.dlq" in failed.reason
    await world.produce(topic, [Message(b"live", b"")])
    await until(lambda: seen.all[-1][1].key == b"live", "live records flow on")
    assert daemon.said("replay r1 failed")
    assert await daemon.stop() == 0


async def test_the_topic_is_deleted_meanwhile_and_recreated_by_what_fails_again(world: World) -> None:
    """The new one has other dead letters at the offsets of the old: they are not meant, and not one of them was replayed."""
    topic, control = await world.create_topic(2), name("control")
    await dead_letters(world, topic, 1_500, 50, control)
    seen = Seen(world)
    async with grpc.aio.insecure_channel(world.daemons[0].admin_address) as channel:
        admin, plan = AdminStub(channel), pb.ReplayPlan(subscription="orders")

        async def start(request_id: str) -> str:
            change = pb.Change(request_id=request_id, reason="fixed")
            answer = await admin.StartReplay(pb.StartReplayRequest(change=change, plan=plan), timeout=20)
            return str(answer.replay.id)

        async def replay(task: str) -> pb.Replay:
            return (await admin.GetReplay(pb.GetReplayRequest(id=task), timeout=20)).replay

        async def is_over(task: str) -> bool:
            return (await replay(task)).state in {pb.REPLAY_STATE_DONE, pb.REPLAY_STATE_FAILED}

        first = await start("one")
        await until(lambda: is_over(first), "all are replayed")
        assert (await replay(first)).succeeded_records == 1_500
        seen.answer = POISON
        plan.again, plan.rate_max_per_s = True, 50
        second = await start("two")
        await until(lambda: len(seen.all) >= 1_550, "it has begun")
        await world.kafka.topics.delete([f"{topic}.dlq"])
        await until(lambda: is_over(second), "it is over")
        failed = await replay(second)
        assert failed.state == pb.REPLAY_STATE_FAILED
        assert f"{topic}.dlq" in failed.state_reason
        await world.produce(topic, [Message(b"live", b"") for _ in range(20)])

        await until(lambda: sum(not of_replay for of_replay, _ in seen.all) == 20, "live records flow on")
        await until(lambda: all_are_dead(world.daemons[0]), "each refusal is in the new topic or was in the old one")
        plan.again, plan.rate_max_per_s = False, 0
        preview = await admin.PreviewReplay(pb.PreviewReplayRequest(plan=plan), timeout=20)
        listed = await admin.ListDeadLetters(pb.ListDeadLettersRequest(subscription="orders"), timeout=20)
        assert (preview.matched_records >= 20, preview.replayed_records) == (True, 0)
        assert not any(dead_letter.replayed for dead_letter in listed.dead_letters)
        seen.answer = Answer()
        third = await start("three")
        await until(lambda: is_over(third), "those of the new topic are replayed")
        assert (await replay(third)).succeeded_records == preview.matched_records


async def test_what_expires_meanwhile_is_reported(world: World) -> None:
    topic, control = await world.create_topic(), name("control")
    await dead_letters(world, topic, 2_000, 50, control)
    (daemon,) = world.daemons
    seen = Seen(world)
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        task = await start(world, at, topic, ReplayPlan(rate_max_per_s=500.0))
        await until(lambda: len(seen.all) >= 20, "it has begun")
        await world.kafka.delete_records(f"{topic}.dlq", 0, 1_600)
        counts = totals(at, await ended(at, task)).counts
    assert counts.expired > 0
    assert counts.succeeded + counts.expired == 2_000, "none is missed in silence"
    assert len(seen.times()) == counts.succeeded
    left = {
        int(dict(dead_letter.headers)["__dlq.errors.offset"] or b"") for dead_letter in await world.dead_letters(topic)
    }
    assert len(left) == 400
    assert left <= {offset for _, offset in seen.times()}
    assert await daemon.stop() == 0


async def test_what_fails_again_and_again_is_quarantined(world: World) -> None:
    topic, control = await world.create_topic(), name("control")
    await dead_letters(world, topic, 20, 5, control, dead_letter={"replays_max": 2})
    (daemon,) = world.daemons
    seen = Seen(world)
    seen.answer = POISON

    async def brought_back(number: int, **plan: Any) -> int:
        before = len(seen.all)
        async with operator(world.kafka.bootstrap_servers, topic, control) as at:
            task = await start(world, at, topic, ReplayPlan(**plan), f"r{number}")
            counts = totals(at, await ended(at, task)).counts
        assert counts.failed == counts.sent == len(seen.all) - before
        return counts.sent

    assert await brought_back(1) == 20, "and none of those that it made itself"
    assert await brought_back(2) == 20, "the new copies alone"
    assert await brought_back(3) == 0, "they are in quarantine"
    assert await brought_back(4, include_quarantined=True) == 20
    assert await brought_back(5, again=True) == 40, "the copies that came back less than twice"
    replays = Counter(dict(dead_letter.headers)["mps-dlq-replays"] for dead_letter in await world.dead_letters(topic))
    assert replays == {b"0": 20, b"1": 40, b"2": 40, b"3": 20}
    assert await daemon.stop() == 0


async def test_back_into_the_topic(world: World) -> None:
    topic, control = await world.create_topic(2), name("control")
    await dead_letters(world, topic, 50, 10, control)
    daemon = world.daemons[0]
    seen = Seen(world)
    before = await world.kafka.topics.log_end(topic)
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        task = await start(world, at, topic, ReplayPlan(target=ReplayTarget.TOPIC))
        total = totals(at, await ended(at, task))
    assert total.counts.succeeded == 50
    await until(lambda: len(seen.all) == 50, "all groups see it, this one too")
    records = await world.kafka.topics.read_all(topic)
    again = [record for record in records if record.offset >= before[TopicPartition(topic, record.partition)]]
    assert len(again) == 50
    assert all(dict(record.headers)["mps-replay"] == b"r1" for record in again)
    assert all(dict(record.headers)["mps-replays"] == b"1" for record in again)
    world.application.behaviour = lambda _: POISON
    await world.produce(topic, [Message(b"k", b"", [("mps-replays", b"1")])])

    async def has_come_back() -> bool:
        return len(await world.dead_letters(topic)) == 51

    await until(has_come_back, "it is dead again")
    last = max(await world.dead_letters(topic), key=lambda dead_letter: dead_letter.timestamp)
    assert dict(last.headers)["mps-dlq-replays"] == b"1"
    assert await daemon.stop() == 0


async def test_by_the_admin_service(world: World) -> None:
    topic, control = await world.create_topic(2), name("control")
    await dead_letters(world, topic, 60, 6, control)
    daemon = world.daemons[0]
    seen = Seen(world)
    async with grpc.aio.insecure_channel(daemon.admin_address) as channel:
        admin = AdminStub(channel)
        plan = pb.ReplayPlan(subscription="orders", rate_max_per_s=20.0, filter=pb.DeadLetterFilter(statuses=[422]))
        preview = await admin.PreviewReplay(pb.PreviewReplayRequest(plan=plan), timeout=20)
        assert (preview.matched_records, preview.keys, preview.largest_key_records) == (60, 6, 10)
        assert (len(preview.samples), preview.takes.seconds, preview.incomplete) == (10, 3, False)
        assert [group.records for group in preview.groups] == [60]
        asked = pb.StartReplayRequest(change=pb.Change(request_id="one", reason="fixed"), plan=plan)
        started = (await admin.StartReplay(asked, timeout=20)).replay
        again = (await admin.StartReplay(asked, timeout=20)).replay
        assert again.id == started.id, "the same request is the same replay"
        assert (started.state, started.provenance.who) == (pb.REPLAY_STATE_RUNNING, "local")
        await until(lambda: len(seen.all) >= 5, "it has begun")
        change = pb.Change(request_id="two", reason="wait")
        pause = pb.ControlReplayRequest(change=change, id=started.id, action=pb.REPLAY_ACTION_PAUSE)
        paused = await admin.ControlReplay(pause, timeout=20)
        assert (paused.replay.state, paused.changed.confirmed) == (pb.REPLAY_STATE_PAUSED, True)
        change = pb.Change(request_id="three", reason="go on")
        resume = pb.ControlReplayRequest(change=change, id=started.id, action=pb.REPLAY_ACTION_RESUME)
        await admin.ControlReplay(resume, timeout=20)

        async def is_done() -> bool:
            got = await admin.GetReplay(pb.GetReplayRequest(id=started.id), timeout=20)
            return bool(got.replay.state == pb.REPLAY_STATE_DONE)

        await until(is_done, "it is done")
        (listed,) = (await admin.ListReplays(pb.ListReplaysRequest(), timeout=20)).replays
        assert (listed.matched_records, listed.succeeded_records, listed.left_records) == (60, 60, 0)
        assert set(seen.times().values()) == {1}
        preview = await admin.PreviewReplay(pb.PreviewReplayRequest(plan=plan), timeout=20)
        assert (preview.matched_records, preview.replayed_records) == (0, 60)
        plan.again, plan.records_max, plan.rate_max_per_s = True, 7, 0
        asked = pb.StartReplayRequest(change=pb.Change(request_id="four", reason="fixed"), plan=plan)
        started = (await admin.StartReplay(asked, timeout=20)).replay
        await until(is_done, "seven are replayed once more")
        assert len(seen.all) == 67
        change = pb.Change(request_id="five", reason="late")
        cancel = pb.ControlReplayRequest(change=change, id=started.id, action=pb.REPLAY_ACTION_CANCEL)
        with pytest.raises(grpc.aio.AioRpcError, match="is done"):
            await admin.ControlReplay(cancel, timeout=20)
        bad = pb.ReplayPlan(subscription="orders", filter=pb.DeadLetterFilter(partition=3))
        with pytest.raises(grpc.aio.AioRpcError, match=r"plan\.filter\.partition"):
            await admin.PreviewReplay(pb.PreviewReplayRequest(plan=bad), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError, match="no replay is named"):
            await admin.GetReplay(pb.GetReplayRequest(id="r0"), timeout=20)
    assert await daemon.stop() == 0


@pytest.mark.parametrize("target", ["application", "topic"])
async def test_dead_letters_of_a_topic_that_was_made_again_with_fewer_partitions(world: World, target: str) -> None:
    topic, control = await world.create_topic(4), name("control")
    world.application.behaviour = lambda _: POISON
    daemon = await world.start_daemon(world.subscription(topic), **tables(control))
    await world.produce(topic, [Message(f"k{number}".encode(), b"", partition=number) for number in range(4)])
    await world.settled(topic)
    assert await daemon.stop() == 0
    await world.kafka.topics.delete([topic])
    await world.create_topic(1, topic=topic)
    world.application.heal()
    daemon = await world.start_daemon(world.subscription(topic), **tables(control))
    replay = "replay-dlq", "orders", "--to", target, "--reason", "repaired"
    assert (await seen(daemon, *replay, "--dry-run"))["matched_records"] == 4
    ran = await mpsctl(daemon, *replay, "--yes", "--wait")
    assert ran.code == 0, ran
    (listed,) = (await seen(daemon, "replay", "ls"))["replays"]
    assert (listed["state"], listed["matched_records"], listed["succeeded_records"]) == ("done", 4, 4)
    await world.application.accepts(4)
    assert (await seen(daemon, *replay, "--dry-run"))["matched_records"] == 0
