"""Control state on a real Kafka: it holds over kills and rebalances, and nobody else's records disturb it."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mpsd.core.control import VERSION, OfSubscription, key_bytes
from mpsd.core.pauses import PAUSE, Scope
from mpsd.core.record import TopicPartition
from mpsd.core.resets import RESET, Reset, Target
from mpsd.demo.guarantees.events import DeliveryStarted
from mpsd.demo.guarantees.guarantee import RecordPosition
from mpsd.errors import RequestIdReused, RevisionConflict
from mpsd.kafka.cluster import moves
from tests.integration.world import Answer, Daemon, Message, Request, World, keyed, run_mpsd, until
from tests.integration.world.operator import operator
from tests.integration.world.world import name

pytestmark = pytest.mark.integration

QUICK = {"session_timeout_ms": 2_500, "rebalance_timeout_ms": 2_500}
KEYS = 50


async def applied(daemon: Daemon, partitions: int, state: str = "paused") -> None:
    """Wait until so many of its partitions say that they are in the state."""

    async def is_so() -> bool:
        return (await daemon.metrics()).sum("mps_partition_state", state=state) == partitions

    await until(is_so, f"{partitions} partitions of {daemon} are {state}")


async def paused_keys(daemon: Daemon, count: int) -> None:
    """Wait until it knows of so many, over all partitions."""

    async def is_so() -> bool:
        return (await daemon.metrics()).sum("mps_partition_paused_keys") == count

    await until(is_so, f"{daemon} knows of {count} paused keys")


async def test_a_pause_holds_over_a_kill_and_resume_loses_and_repeats_nothing(world: World) -> None:
    topic, control = await world.create_topic(4), name("control")
    tables = {"kafka": QUICK, "control": {"topic": control, "audit_topic": ""}}
    daemon = await world.start_daemon(world.subscription(topic), **tables)
    scope = Scope("orders")
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        async with world.producing(topic, keys=KEYS, per_s=500):
            await world.application.accepts(500)
            await at.pause(scope)
            await applied(daemon, 4)
            await until(lambda: not world.application.in_flight, "what was in flight has ended")
            requests = world.application.requests
            await daemon.kill()
            world.given_up()
            daemon = await world.start_daemon(world.subscription(topic), **tables)
            await applied(daemon, 4)
            await asyncio.sleep(0.5)
            assert world.application.requests == requests, "nothing was delivered while it was paused"
            await at.resume(scope)
        await world.settled(topic)
    assert await daemon.stop() == 0
    await world.judge(topic, repeated_s=1.0)


async def test_a_pause_holds_over_a_rebalance(world: World) -> None:
    topic, control = await world.create_topic(4), name("control")
    tables = {"kafka": QUICK, "control": {"topic": control, "audit_topic": ""}}
    first = await world.start_daemon(world.subscription(topic), **tables)
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        await at.pause(Scope("orders", topic))
        await applied(first, 4)
        await world.produce(topic, [keyed(number, KEYS) for number in range(400)])
        second = await world.start_daemon(world.subscription(topic), **tables)
        await applied(second, 2)
        await applied(first, 2)
        assert world.application.requests == 0
        await at.resume(Scope("orders", topic))
        await world.settled(topic)
    await world.judge(topic)
    assert set(world.application.accepted.values()) == {1}


async def test_a_pause_with_an_end_ends_by_itself(world: World) -> None:
    topic, control = await world.create_topic(), name("control")
    daemon = await world.start_daemon(world.subscription(topic), control={"topic": control, "audit_topic": ""})
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        ends_ms, ends_s = int(time.time() * 1000) + 3_000, time.monotonic() + 3.0
        await at.pause(Scope("orders"), until_ms=ends_ms)
        await applied(daemon, 1)
        await world.produce(topic, [keyed(number, KEYS) for number in range(100)])
        await world.settled(topic)
    assert min(each.at_s for each in world.application.events if isinstance(each, DeliveryStarted)) >= ends_s - 0.1
    await world.judge(topic)


async def test_of_two_who_change_at_once_one_wins_and_the_other_is_told(world: World) -> None:
    group, control, scope = name("group"), name("control"), Scope("orders")
    async with (
        operator(world.kafka.bootstrap_servers, group, control) as one,
        operator(world.kafka.bootstrap_servers, group, control) as other,
    ):
        answers = await asyncio.gather(
            *(each.pause(scope, expected_revision=0) for each in (one, other) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(answer, int | RevisionConflict) for answer in answers), answers
        assert sum(isinstance(answer, int) for answer in answers) == 1
        await one.plane.read_to_end()
        await other.plane.read_to_end()
        key = PAUSE.entity_key(group, scope)
        assert one.plane.state.get(key) == other.plane.state.get(key) is not None
        revision = await one.pause(scope, request_id="twice")
        assert await other.pause(scope, request_id="twice") == revision, "the same request is done once"
        with pytest.raises(RequestIdReused):
            await other.pause(Scope("orders", "elsewhere"), request_id="twice")


async def test_what_others_wrote_into_the_topic_changes_nothing(world: World) -> None:
    topic, control = await world.create_topic(), name("control")
    scope = Scope("orders")
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        await at.plane.read_to_end()
        future = Message(key_bytes(PAUSE.entity_key(topic, scope)), b'{"version":%d,"until_ms":null}' % (VERSION + 1))
        foreign = [
            Message(b"\xff\x00", None),
            Message(b"[]", b"{}"),
            Message(b"k", b"\xff" * 1000),
        ]
        other_group = Message(key_bytes(PAUSE.entity_key("another", scope)), b'{"version":1,"until_ms":null}')
        await world.kafka.produce(control, [future, *foreign, other_group])
        daemon = await world.start_daemon(world.subscription(topic), control={"topic": control, "audit_topic": ""})
        await world.produce(topic, [keyed(number, KEYS) for number in range(100)])
        await world.settled(topic)
        assert await at.plane.read_to_end() == 5
        assert at.plane.state.ignored == {"unreadable-key": 3, "other-version": 1}
        assert daemon.said("control record", "is ignored")
    await world.judge(topic)


async def test_a_topic_that_is_deleted_is_recreated_with_what_was_decided(world: World) -> None:
    topic, control = await world.create_topic(), name("control")
    tables = {"control": {"topic": control, "audit_topic": ""}}
    daemon = await world.start_daemon(world.subscription(topic), **tables)
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        await at.pause(Scope("orders", topic, 0, b"k1"))
        await paused_keys(daemon, 1)
        await world.produce(topic, [keyed(number, 2) for number in range(10)])
        await world.application.accepts(5)
    await world.kafka.topics.delete([control])
    await until(lambda: daemon.said("were written to the new"), "what was decided is in the new topic")
    await world.produce(topic, [keyed(number, 2) for number in range(10, 20)])
    await world.application.accepts(10)
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        await at.plane.read_to_end()
        assert at.plane.state.get(PAUSE.entity_key(topic, Scope("orders", topic, 0, b"k1"))) is not None
        await at.resume(Scope("orders", topic, 0, b"k1"))
        await world.settled(topic)
    await world.judge(topic)


async def test_the_history_is_read_newest_first_in_pages(world: World) -> None:
    group, control, audit = name("group"), name("control"), name("audit")
    async with operator(world.kafka.bootstrap_servers, group, control, audit) as at:
        history = at.plane.history
        assert history is not None
        assert await history.page(None, 10, "", 0) == ((), None)
        for number in range(5):
            await at.pause(Scope("orders" if number % 2 else "bills", "t", number), description=f"number {number}")
        newest = await history.page(None, 2, "", 0)
        assert [entry.description for entry in newest.entries] == ["number 4", "number 3"]
        older = await history.page(newest.before, 10, "", 0)
        assert [entry.description for entry in older.entries] == ["number 2", "number 1", "number 0"]
        assert older.before is None
        assert [e.description for e in (await history.page(None, 10, "orders", 0)).entries] == ["number 3", "number 1"]
        assert not (await history.page(None, 10, "", int(time.time() * 1000) + 60_000)).entries


async def test_a_check_names_topics_that_would_not_keep_what_is_decided(world: World, tmp_path: Path) -> None:
    topic, control, audit = await world.create_topic(), name("control"), name("audit")
    config = world.configuration(world.subscription(topic), control={"topic": control, "audit_topic": audit})
    file = tmp_path / "check.toml"
    file.write_text(config)
    code, output, _ = await run_mpsd("--config", str(file), "--check")
    assert (code, f"would create control topic {control}" in output) == (0, True)
    assert f"would create audit topic {audit}" in output
    await world.kafka.create_topic(control, 1, [], {"cleanup.policy": "delete"})
    code, output, _ = await run_mpsd("--config", str(file), "--check")
    assert code == 1
    assert "cleanup.policy delete instead of compact" in output
    daemon = await world.start_daemon(world.subscription(topic), control={"topic": control, "audit_topic": ""})
    await until(lambda: daemon.said("is weak: ", control), "the daemon says so, too")


async def test_a_reset_takes_the_group_back_once_and_says_so(world: World) -> None:
    topic, control = await world.create_topic(4), name("control")
    tables = {"kafka": QUICK, "control": {"topic": control, "audit_topic": ""}}
    seen: list[tuple[RecordPosition, str | None]] = []

    def note(request: Request) -> Answer:
        seen.append((request.place, request.headers.get("mps-replay")))
        return Answer()

    world.application.behaviour = note
    first = await world.start_daemon(world.subscription(topic), **tables)
    second = await world.start_daemon(world.subscription(topic), **tables)
    records = await world.produce(topic, [keyed(number, KEYS) for number in range(400)])
    await world.settled(topic)
    options = {"bootstrap_servers": world.kafka.bootstrap_servers}
    found = await moves(options, topic, [topic], {TopicPartition(topic, number): 10 for number in range(4)})
    assert all(move.to == 10 and move.committed == move.log_end for move in found.values())
    assert {move.to for move in (await moves(options, topic, [topic], "earliest")).values()} == {0}
    assert all(move.to == move.log_end for move in (await moves(options, topic, [topic], "latest")).values())
    begun = datetime.fromtimestamp(0, tz=UTC)
    assert {move.to for move in (await moves(options, topic, [topic], begun)).values()} == {0}
    targets = {tp: Target(move.to, move.committed) for tp, move in found.items()}
    async with operator(world.kafka.bootstrap_servers, topic, control) as at:
        await at.change(
            RESET.entity_key(topic, OfSubscription("orders")), RESET.document(Reset(id="0123abcd", targets=targets))
        )
        await until(lambda: len(seen) == 800 - 40, "all but ten of each partition come again")
        await world.settled(topic)
        again = dict(seen[400:])
        assert again == {RecordPosition.of(record): "0123abcd" for record in records if record.offset >= 10}
        assert await first.stop() == 0
        await until(lambda: second.said("assigned"), "its partitions have moved")
        fresh = await world.produce(topic, [keyed(number, KEYS) for number in range(40)])
        await world.settled(topic)
        assert dict(seen[760:]) == {RecordPosition.of(record): None for record in fresh}, "it was applied once"
