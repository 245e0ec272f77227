"""mpsctl as an operator has it, a process of its own, before real daemons on a real Kafka."""

import asyncio

import pytest

from tests.integration.world import Message, World, keyed, until
from tests.integration.world.mpsctl import mpsctl, seen, with_a_record_in_back_off

pytestmark = pytest.mark.integration


async def test_a_key_that_is_paused_waits_and_the_others_flow(world: World) -> None:
    topic = await world.create_topic(1)
    daemon = await world.start_daemon(world.subscription(topic))
    paused = await mpsctl(daemon, "pause", "orders", "--key", "k1", "--reason", "ticket 812")
    assert (paused.code, paused.out) == (0, "✓ paused orders, key k1; confirmed by the daemon\n")
    await world.produce(topic, [Message(b"k1", b"a"), Message(b"k2", b"b"), Message(b"k3", b"c")])
    await world.application.accepts(2)
    (subscription,) = (await seen(daemon, "status", "orders"))["subscriptions"]
    assert subscription["pauses"][0]["selection"]["key"] == "k1"
    assert subscription["pauses"][0]["provenance"]["reason"] == "ticket 812"
    assert (subscription["tightest"]["topic"], subscription["tightest"]["paused_lanes"]) == (topic, 1)
    told = (await mpsctl(daemon, "status", "orders")).out
    assert f"{topic}/0 has room for {subscription['tightest']['room_records']:,} records or " in told
    lanes = (await seen(daemon, "inspect", "orders", "--blocked"))["lanes"]
    assert [(lane["key"], lane["state"], lane["blocks_commit"]) for lane in lanes] == [("k1", "paused", True)]
    assert len(world.application.accepted) == 2
    assert (await mpsctl(daemon, "resume", "orders", "--key", "k1")).code == 0
    await world.settled(topic)
    (subscription,) = (await seen(daemon, "status", "orders"))["subscriptions"]
    assert subscription["tightest"] is None
    methods = [entry["method"] for entry in (await seen(daemon, "audit", "orders"))["entries"]]
    assert methods[:2] == ["Resume", "Pause"], "others share the history"
    await world.judge(topic)


async def test_what_blocks_a_commit_is_named_with_its_last_answer(world: World) -> None:
    topic, daemon = await with_a_record_in_back_off(world, "no such customer")
    shown = (await mpsctl(daemon, "inspect", "orders", "--blocked")).out
    assert f"{topic}/0 stands at 0" in shown
    assert "backing-off for another" in shown
    assert "500" in shown


async def test_an_application_that_is_away_is_said_by_status_and_doctor(world: World) -> None:
    topic = await world.create_topic(1)
    daemon = await world.start_daemon(world.subscription(topic))
    await world.application.go_away()
    await world.produce(topic, [Message(b"k%d" % number, b"v") for number in range(5)])

    async def down() -> bool:
        (subscription,) = (await seen(daemon, "status"))["subscriptions"]
        return bool(subscription["state"] == "endpoint-out")

    await until(down, "the endpoint is down")
    check = await mpsctl(daemon, "doctor")
    assert check.code == 1
    assert f"http://127.0.0.1:{world.application.port}/records" in check.out
    await world.application.come_back()
    await world.settled(topic)
    assert (await mpsctl(daemon, "doctor")).code == 0


async def test_a_name_that_is_not_there_is_answered_with_the_nearest(world: World) -> None:
    topic = await world.create_topic(1)
    daemon = await world.start_daemon(world.subscription(topic))
    ran = await mpsctl(daemon, "pause", "order", "--reason", "x")
    assert ran.code == 1
    assert 'did you mean "orders"?' in ran.err


async def test_two_who_pause_and_resume_at_once_are_both_told_and_all_daemons_agree(world: World) -> None:
    topic = await world.create_topic(2)
    first = await world.start_daemon(world.subscription(topic))
    second = await world.start_daemon(world.subscription(topic))
    ran = await asyncio.gather(
        mpsctl(first, "pause", "orders", "--reason", "ticket 1"),
        mpsctl(second, "resume", "orders", "--reason", "ticket 2"),
        mpsctl(second, "pause", "orders", "--reason", "ticket 3", "--for", "1h"),
    )
    assert [each.code for each in ran] == [0, 0, 0], ran
    (one,), (other,) = [(await seen(each, "status", "orders"))["subscriptions"] for each in (first, second)]
    assert one["pauses"] == other["pauses"]
    assert len(one["pauses"]) <= 1
    assert (await mpsctl(first, "resume", "orders")).code == 0
    assert "nothing to resume" in (await mpsctl(second, "resume", "orders")).out
    await world.produce(topic, [keyed(number, 20) for number in range(40)])
    await world.settled(topic)
    await world.judge(topic)


async def test_a_reset_is_said_first_and_then_takes_a_running_fleet_back(world: World) -> None:
    topic = await world.create_topic(4)
    first = await world.start_daemon(world.subscription(topic))
    second = await world.start_daemon(world.subscription(topic))
    await world.produce(topic, [keyed(number, 20) for number in range(400)])
    await world.settled(topic)
    assert world.application.requests == 400
    asked = await mpsctl(first, "reset", "orders", "--to", "earliest")
    assert asked.code == 2, "without a terminal it wants --yes"
    would = await seen(first, "reset", "orders", "--to", "earliest", "--dry-run")
    assert sum(part["repeated_records"] for part in would["partitions"]) == 400
    assert world.application.requests == 400
    ran = await mpsctl(second, "reset", "orders", "--to", "earliest", "--reason", "a wrong deploy", "--yes")
    assert ran.code == 0, ran.err
    await until(lambda: world.application.requests == 800, "all comes again")
    await world.settled(topic)
    assert world.application.requests == 800
    entry = next(each for each in (await seen(first, "audit"))["entries"] if each["method"] == "Reset")
    assert entry["provenance"]["reason"] == "a wrong deploy"
