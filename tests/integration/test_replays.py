"""Replays of dead letters on a real Kafka: at a set rate, over a kill, and when the topic goes away."""

import time
from collections import Counter, defaultdict

import grpc
import pytest

from mps.admin.v1 import admin_pb2 as pb
from mps.admin.v1.admin_pb2_grpc import AdminStub
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.replay import ReplayPlan, ReplayState, ReplayTarget, ReplayTask
from mpsd.core.replay_book import KINDS, ReplayBook
from mpsd.core.replay_progress import Total
from mpsd.demo.guarantees.events import SeenRecord
from mpsd.kafka.dead_letter_log import KafkaDeadLetterLog
from tests.integration.world import Answer, Daemon, Message, World, keyed, until
from tests.integration.world.application import Request
from tests.integration.world.operator import Operator, operator
from tests.integration.world.world import COMMIT_INTERVAL_S, name

pytestmark = pytest.mark.integration

QUICK = {"session_timeout_ms": 2_500, "rebalance_timeout_ms": 2_500}
POISON = Answer(422, "no such customer")


async def dead_letters(world: World, topic: str, count: int, keys: int, control: str) -> Daemon:
    """Make so many, by an application that refuses all; then it takes everything."""
    world.application.behaviour = lambda _: POISON
    daemon = await world.start_daemon(world.subscription(topic), **tables(control))
    await world.produce(topic, [keyed(number, keys) for number in range(count)])
    await world.settled(topic)
    assert len(await world.dead_letters(topic)) == count
    world.application.behaviour = lambda _: Answer()
    return daemon


def tables(control: str) -> dict[str, dict[str, object]]:
    return {"kafka": dict(QUICK), "control": {"topic": control, "audit_topic": ""}}


def book(at: Operator) -> ReplayBook:
    """As the control topic says it now."""
    made = ReplayBook(at.group, "orders")
    for kind in KINDS:
        for key, entity in at.plane.state.of_kind(at.group, kind).items():
            made.on_entity(key, entity)
    return made


def totals(at: Operator, task: ReplayTask) -> Total:
    return book(at).total(task)


async def start(world: World, at: Operator, topic: str, plan: ReplayPlan, task_id: str = "r1") -> ReplayTask:
    log = KafkaDeadLetterLog(f"{topic}.dlq", {"bootstrap_servers": world.kafka.bootstrap_servers, "client_id": "t"})
    bounds = [LogBounds(*each) for _, each in sorted((await log.bounds()).items())]
    await log.close()
    task = ReplayTask(
        id=task_id, group=topic, subscription="orders", plan=plan, bounds=bounds,
        sources={topic: len(await world.kafka.topics.log_end(topic))}, state=ReplayState.RUNNING, reason="",
        started_at_ms=int(time.time() * 1000), ended_at_ms=None,
    )  # fmt: skip
    await at.change(task.key, task.document())
    return task


async def ended(at: Operator, task: ReplayTask, state: ReplayState = ReplayState.DONE) -> ReplayTask:
    async def has() -> bool:
        await at.plane.read_to_end()
        return book(at).tasks[task.id].state is state

    await until(has, f"the replay is {state}")
    return book(at).tasks[task.id]


class Seen:
    """What the application was given, replayed or not, and accepts all of."""

    def __init__(self, world: World) -> None:
        self.all: list[tuple[str, SeenRecord]] = []
        world.application.behaviour = self._accept

    def _accept(self, request: Request) -> Answer:
        self.all.append((request.headers.get("mps-replay", ""), request.record))
        return Answer()

    def times(self) -> Counter[tuple[TopicPartition, int]]:
        return Counter((TopicPartition(place.topic, place.partition), place.offset) for _, place in self.all)

    def is_ordered(self) -> bool:
        """Whether of each key the first deliveries were in order."""
        orders: defaultdict[tuple[int, bytes | None], dict[int, None]] = defaultdict(dict)
        for _, place in self.all:
            orders[place.partition, place.key][place.offset] = None
        return all(list(offsets) == sorted(offsets) for offsets in orders.values())


async def test_two_thousand_at_a_rate_over_a_kill(world: World) -> None:
    topic, control = await world.create_topic(4), name("control")
    first = await dead_letters(world, topic, 2_000, 50, control)
    second = await world.start_daemon(world.subscription(topic), **tables(control))
    seen, rate = Seen(world), 250.0
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        began_s = time.monotonic()
        task = await start(world, at, topic, ReplayPlan(rate_max_per_s=rate))
        await until(lambda: len(seen.all) >= 700, "a third is replayed")
        await first.kill()
        world.given_up()
        total = totals(at, await ended(at, task))
        took_s = time.monotonic() - began_s
    times = seen.times()
    repeated = sum(times.values()) - len(times)
    print(f"2,000 dead letters at {rate}/s with a kill: {took_s:.1f} s, {repeated} twice")
    assert len(times) == 2_000, "each is delivered"
    assert repeated <= rate * (COMMIT_INTERVAL_S + 0.5) + 64, "a commit interval's worth and what was in flight"
    assert seen.is_ordered()
    assert {replay for replay, _ in seen.all} == {"r1"}
    assert took_s > 2_000 / rate / 2, "it kept to the rate"
    assert (total.counts.succeeded, total.counts.failed, total.left) == (2_000, 0, 0)
    assert await second.stop() == 0


async def test_over_a_rebalance_and_a_clean_stop_nothing_is_repeated(world: World) -> None:
    topic, control = await world.create_topic(4), name("control")
    first = await dead_letters(world, topic, 600, 50, control)
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
    daemon = await dead_letters(world, topic, 1_500, 50, control)
    seen = Seen(world)
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        task = await start(world, at, topic, ReplayPlan(rate_max_per_s=50.0))
        await until(lambda: len(seen.all) >= 20, "it has begun")
        await world.kafka.topics.delete([f"{topic}.dlq"])
        failed = await ended(at, task, ReplayState.FAILED)
    assert f"{topic}.dlq" in failed.reason
    await world.produce(topic, [Message(b"live", b"")])
    await until(lambda: seen.all[-1][1].key == b"live", "live records flow on")
    assert daemon.said("replay r1 is failed")
    assert await daemon.stop() == 0


async def test_back_into_the_topic(world: World) -> None:
    topic, control = await world.create_topic(2), name("control")
    daemon = await dead_letters(world, topic, 50, 10, control)
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
    last = max(await world.dead_letters(topic), key=lambda letter: letter.timestamp)
    assert dict(last.headers)["mps-dlq-replays"] == b"1"
    assert await daemon.stop() == 0


async def test_by_the_admin_service(world: World) -> None:
    topic, control = await world.create_topic(2), name("control")
    daemon = await dead_letters(world, topic, 60, 6, control)
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
