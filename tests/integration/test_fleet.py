"""Three daemons and an operator with mpsctl: what is confirmed holds, whatever becomes of the daemons."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from mpsd.demo.guarantees.events import DeliveryStarted
from tests.integration.world import Daemon, World, keyed, until
from tests.integration.world.mpsctl import mpsctl, seen

pytestmark = pytest.mark.integration

DAEMONS = 3
PARTITIONS = 6
KEYS = 30
TABLES: dict[str, Any] = {
    "kafka": {"session_timeout_ms": 10_000, "rebalance_timeout_ms": 2_500},
    "admin": {"peer_timeout_s": 2.0},
}


async def fleet(world: World, subscription: dict[str, Any]) -> list[Daemon]:
    """Three that know each other and share out all partitions."""
    begun = [world.begin_daemon(subscription, **TABLES) for _ in range(DAEMONS)]
    daemons = [await daemon.ready() for daemon in begun]
    await complete(daemons)
    return daemons


async def complete(daemons: Sequence[Daemon]) -> None:
    """Wait until each lists exactly these, all of which answer and have partitions."""
    addresses = {daemon.admin_address for daemon in daemons}

    async def is_so() -> bool:
        for daemon in daemons:
            ran = await mpsctl(daemon, "status", "--json")
            if ran.code:
                return False
            instances = json.loads(ran.out)["instances"]
            if {each["address"] for each in instances if each["partitions"]} != addresses:
                return False
        return True

    await until(is_so, f"{len(daemons)} daemons know each other and have partitions", every_s=0.2)


def deliveries(world: World, topic: str, *, since_s: float) -> int:
    """Count the deliveries of the topic that began from then on."""
    return sum(
        isinstance(event, DeliveryStarted) and event.record.topic == topic and event.at_s >= since_s
        for event in world.application.events
    )


async def flows(world: World, topic: str) -> None:
    """Wait until the application has been sent some more of it."""
    from_s = time.monotonic()
    await until(lambda: deliveries(world, topic, since_s=from_s) >= 200, f"{topic} flows: {world.application}")


async def test_a_confirmed_pause_of_a_topic_outlives_every_daemon(world: World) -> None:
    paused, other = await world.create_topic(PARTITIONS), await world.create_topic(PARTITIONS)
    subscription = world.subscription(paused, topics=[paused, other])
    daemons = await fleet(world, subscription)
    async with world.producing(paused, keys=KEYS, per_s=200), world.producing(other, keys=KEYS, per_s=200):
        await flows(world, paused)
        ran = await mpsctl(daemons[0], "pause", "orders", "--topic", paused, "--reason", "maintenance")
        confirmed_s = time.monotonic()
        assert (ran.code, ran.out) == (0, f"✓ paused orders, topic {paused}; confirmed by all 3 daemons\n")
        await flows(world, other)
        assert deliveries(world, paused, since_s=confirmed_s) == 0, "none after the confirmation"

        await asyncio.gather(*map(world.kill, daemons))
        daemons = await fleet(world, subscription)
        await flows(world, other)
        assert deliveries(world, paused, since_s=confirmed_s) == 0, "none after kill -9 of all three"

        assert await daemons.pop().stop() == 0
        await complete(daemons)
        await flows(world, other)
        assert deliveries(world, paused, since_s=confirmed_s) == 0, "none by those who took over partitions"

        (status,) = (await seen(daemons[0], "status", "orders"))["subscriptions"]
        assert [pause["selection"]["topic"] for pause in status["pauses"]] == [paused]
        assert (await mpsctl(daemons[1], "resume", "orders", "--topic", paused)).code == 0
        await flows(world, paused)
    await world.settled(paused, other, group=paused)
    await world.judge(paused, other, group=paused, repeated_s=1.0)


async def test_what_is_paused_waits_at_every_daemon_and_comes_once_when_resumed(world: World) -> None:
    topic = await world.create_topic(PARTITIONS)
    daemons = await fleet(world, world.subscription(topic))
    async with world.producing(topic, keys=KEYS, per_s=400):
        await flows(world, topic)
        ran = await mpsctl(daemons[2], "pause", "orders", "--reason", "again")
        confirmed_s = time.monotonic()
        assert (ran.code, ran.out) == (0, "✓ paused orders; confirmed by all 3 daemons\n")
        assert (await seen(daemons[0], "status", "orders"))["subscriptions"][0]["state"] == "paused"
        assert deliveries(world, topic, since_s=confirmed_s) == 0
        assert (await mpsctl(daemons[1], "resume", "orders")).code == 0
        await flows(world, topic)
    await world.settled(topic)
    accepted = len(world.application.accepted)

    ran = await mpsctl(daemons[0], "pause", "orders", "--key", "k1", "--reason", "ticket 812")
    assert (ran.code, ran.out) == (0, "✓ paused orders, key k1; confirmed by all 3 daemons\n")
    confirmed_s = time.monotonic()
    await world.produce(topic, [keyed(number, 20) for number in range(600)])
    await world.application.accepts(accepted + 600 - 30)
    lanes = (await seen(daemons[2], "inspect", "orders", "--blocked"))["lanes"]
    assert {(lane["key"], lane["state"], lane["blocks_commit"]) for lane in lanes} == {("k1", "paused", True)}
    sent = {e.record.key for e in world.application.events if isinstance(e, DeliveryStarted) and e.at_s > confirmed_s}
    assert sent == {b"k%d" % number for number in range(20)} - {b"k1"}
    assert (await mpsctl(daemons[1], "resume", "orders", "--key", "k1")).code == 0
    await world.settled(topic)
    await world.judge(topic)
    assert set(world.application.accepted.values()) == {1}


async def test_what_a_killed_daemon_had_is_unknown_until_others_have_it_and_its_lag_is_known(world: World) -> None:
    topic = await world.create_topic(PARTITIONS)
    subscription = world.subscription(topic)
    asked, also, killed = await fleet(world, subscription)
    assert (await mpsctl(asked, "pause", "orders", "--reason", "so that there is a lag")).code == 0
    await world.produce(topic, [keyed(number, 200) for number in range(400)])
    address = killed.admin_address

    async def all_have_heard_of_them() -> bool:
        return bool((await seen(asked, "status", "orders"))["subscriptions"][0]["flow"]["lag_records"] == 400)

    await until(all_have_heard_of_them, "all daemons have heard of the 400 records", every_s=0.2)
    await world.kill(killed)
    ran = await mpsctl(asked, "status", "--partitions", "--json", "--fail-on", "unknown")
    (said,) = json.loads(ran.out)["subscriptions"]
    lost = [part for part in said["partitions"] if part["state"] == "unknown"]
    assert (ran.code, said["state"], said["partial"], said["lag_missing_partitions"]) == (5, "unknown", True, 0)
    assert {part["instance"] for part in lost} == {address}
    assert all(part["lag_records"] is not None and part["flow"] is None for part in lost)
    assert said["flow"]["lag_records"] == 400
    assert {each["state"]: each["partitions"] for each in said["partition_states"]} == {
        "unknown": len(lost), "paused": PARTITIONS - len(lost),
    }  # fmt: skip

    async def others_have_it() -> bool:
        ran = await mpsctl(also, "status", "--json", "--fail-on", "error")
        found = json.loads(ran.out)
        return ran.code == 0 and [each["address"] for each in found["departures"]] == [address]

    await until(others_have_it, "its partitions have other owners, and it has left")
    assert f"{address} left " in (await mpsctl(asked, "status")).out


async def test_a_frozen_daemon_is_listed_and_the_others_answer(world: World) -> None:
    topic = await world.create_topic(PARTITIONS)
    awake, also, frozen = await fleet(world, world.subscription(topic))
    with frozen.frozen():
        ran = await mpsctl(awake, "status", "--json")
        answered = {each["address"]: each["answered"] for each in json.loads(ran.out)["instances"]}
        assert (ran.code, answered) == (
            3,
            {awake.admin_address: True, also.admin_address: True, frozen.admin_address: False},
        )
    await complete([awake, also, frozen])


async def test_a_change_while_half_of_the_fleet_is_frozen_is_made_and_not_confirmed_until_they_have_it(
    world: World,
) -> None:
    topic = await world.create_topic(PARTITIONS)
    kafka = {"session_timeout_ms": 60_000, "rebalance_timeout_ms": 30_000}
    tables: dict[str, Any] = {"kafka": kafka, "admin": {"peer_timeout_s": 1.0}, "control": {"confirm_timeout_s": 1.0}}
    begun = [world.begin_daemon(world.subscription(topic), **tables) for _ in range(4)]
    daemons = [await daemon.ready() for daemon in begun]
    await complete(daemons)
    awake, also, *frozen = daemons
    with frozen[0].frozen(), frozen[1].frozen():
        ran = await mpsctl(awake, "pause", "orders", "--reason", "maintenance", "--json")
        assert ran.code == 3, ran
        changed = json.loads(ran.out)
        assert not changed["confirmed"]
        applied = {each["address"]: each["control_revision"] >= changed["revision"] for each in changed["instances"]}
        assert applied == {each.admin_address: each in {awake, also} for each in daemons}
        for each in changed["instances"]:
            assert each["answered"] or each["problem"]
        ran = await mpsctl(also, "status", "--json")
        assert ran.code == 3, "two do not answer"

    async def all_have_it() -> bool:
        ran = await mpsctl(awake, "status", "--json")
        revisions = [each["control_revision"] for each in json.loads(ran.out)["instances"]]
        return len(revisions) == 4 and min(revisions) >= changed["revision"]

    await until(all_have_it, "those that were thawed have it too", every_s=0.2)
    ran = await mpsctl(also, "resume", "orders", "--json")
    assert (ran.code, json.loads(ran.out)["confirmed"], len(json.loads(ran.out)["instances"])) == (0, True, 4), ran


async def test_two_that_advertise_one_address_are_an_error_and_confirm_nothing(world: World) -> None:
    topic = await world.create_topic(PARTITIONS)
    one = await world.start_daemon(world.subscription(topic), **TABLES)
    tables = {**TABLES, "admin": {**TABLES["admin"], "advertise": one.admin_address}}
    other = await world.start_daemon(world.subscription(topic), **tables)
    for daemon in (one, other):

        async def lists_both(daemon: Daemon = daemon) -> bool:
            ran = await mpsctl(daemon, "status", "--json")
            found = json.loads(ran.out)["instances"]
            return ran.code == 3 and [each["address"] for each in found] == [one.admin_address] * 2

        await until(lists_both, f"{daemon} lists both", every_s=0.2)
        ran = await mpsctl(daemon, "status", "--json")
        for each in json.loads(ran.out)["instances"]:
            assert f"advertises {one.admin_address} as its admin listener, and so does daemon" in each["problem"]
            assert "set advertise in [admin] of each daemon" in each["problem"]
        ran = await mpsctl(daemon, "pause", "orders", "--reason", "maintenance", "--json")
        assert (ran.code, json.loads(ran.out)["confirmed"]) == (3, False), ran
        ran = await mpsctl(daemon, "doctor", "--json")
        assert ran.code == 1
        assert "fleet.unreachable" in ran.out
