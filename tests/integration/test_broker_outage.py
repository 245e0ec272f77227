"""Reports to operators while the broker is silent: the broker is to blame, and the daemons are not."""

import asyncio
import json

import pytest

from mpsd.demo.broker import KafkaCluster
from tests.integration.world import World, keyed, until
from tests.integration.world.mpsctl import mpsctl, seen

pytestmark = pytest.mark.integration


async def test_a_silent_broker_is_blamed_and_no_daemon_is() -> None:
    async with KafkaCluster() as cluster, World(cluster.bootstrap_servers) as world:
        topic = await world.create_topic(4)
        one, other = [await world.start_daemon(world.subscription(topic)) for _ in range(2)]

        async def both() -> bool:
            said = await seen(one, "status")
            return [each["partitions"] for each in said["instances"]] == [2, 2]

        await until(both, "each has half of the partitions")
        await world.produce(topic, [keyed(number, 20) for number in range(40)])
        await world.settled(topic)
        healthy = json.loads((await mpsctl(one, "doctor", "--json")).out)
        assert healthy["ok"], healthy
        kafka = [each for each in healthy["findings"] if each["subject"] == "kafka"]
        assert [len(each["instances"]) for each in kafka] == [2], "what both find alike is said once"

        await asyncio.to_thread(cluster.freeze_node, 1)
        try:
            found = json.loads((await mpsctl(one, "doctor", "--json")).out)
            assert all(each["answered"] for each in found["instances"]), "a daemon whose broker is silent is not"
            (blamed,) = [each for each in found["findings"] if each["subject"] == "kafka"]
            assert (blamed["severity"], blamed["code"]) == ("error", "kafka.unavailable")
            assert sorted(blamed["instances"]) == sorted([one.admin_address, other.admin_address])
            assert not [each for each in found["findings"] if each["advice"] == "restart it"]
        finally:
            await asyncio.to_thread(cluster.thaw_node, 1)

        async def well() -> bool:
            return bool(json.loads((await mpsctl(one, "doctor", "--json")).out)["ok"])

        await until(well, "all is well again", timeout_s=60.0)


async def test_daemons_that_are_configured_differently_are_named(world: World) -> None:
    topic = await world.create_topic(2)
    one = await world.start_daemon(world.subscription(topic))
    other = await world.start_daemon(world.subscription(topic, retry={"attempts_max": 9}))

    async def is_named() -> bool:
        found = [each for each in (await seen(one, "doctor"))["findings"] if each["code"] == "fleet.config_drift"]
        return any(
            "subscriptions.orders.retry.attempts_max is " in each["message"]
            and f"9 at {other.admin_address}" in each["message"]
            for each in found
        )

    await until(is_named, "the setting is named, and who has which value")
    readings = [await daemon.metrics() for daemon in (one, other)]
    mine, theirs = (set(each.labels("mps_config_info", "hash")) for each in readings)
    assert len(mine) == len(theirs) == 1
    assert mine != theirs
