"""Applications that come for records themselves: one that stays away is said, and one that is everywhere too slow is fair."""

import pytest

from tests.conformance.http_client import Caller
from tests.integration.test_pull import LEASES, pulled
from tests.integration.test_stream import streamed
from tests.integration.world import Daemon, World, keyed, until
from tests.integration.world.mpsctl import mpsctl, seen

pytestmark = pytest.mark.integration


async def state_of(daemon: Daemon) -> str:
    (said,) = (await seen(daemon, "status"))["subscriptions"]
    return str(said["state"])


async def test_a_subscription_that_nobody_receives_from_says_so_everywhere_until_somebody_does(world: World) -> None:
    topic = await world.create_topic(2)
    daemon = await world.start_daemon(streamed(world, topic, receiver_timeout_s=1.0))
    await world.produce(topic, [keyed(number, 10) for number in range(100)])

    async def is_missed() -> bool:
        return await state_of(daemon) == "no-receiver"

    await until(is_missed, "it is missed", every_s=0.2)
    ran = await mpsctl(daemon, "doctor", "--json")
    assert '"receiver.missing"' in ran.out
    metrics = await daemon.metrics()
    assert metrics.sum("mps_subscription_state", subscription="orders", state="no-receiver") == 1
    assert metrics.sum("mps_receiver_gap_seconds", subscription="orders") >= 1
    worker = world.stream_worker(daemon.stream_address)
    await world.settled(topic)

    async def is_well() -> bool:
        return await state_of(daemon) == "running"

    await until(is_well, "somebody receives", every_s=0.2)
    codes = [line.get("code") for line in daemon.log()]
    assert (codes.count("receiver.missing"), codes.count("receiver.back")) == (1, 1)
    await world.judge(topic, applications=[worker])


async def test_a_caller_that_asks_one_daemon_alone_takes_from_all_alike(world: World) -> None:
    """The caller is the bottleneck: the daemon that it asks always has records ready."""
    topic = await world.create_topic(6)
    daemons = [await world.start_daemon(pulled(world, topic)) for _ in range(3)]
    addresses = {daemon.http_address for daemon in daemons}

    async def have_partitions() -> bool:
        return [(await daemon.metrics()).sum("mps_assigned_partitions") for daemon in daemons] == [2, 2, 2]

    await until(have_partitions, "each has two partitions")
    await world.produce(topic, [keyed(number, 600) for number in range(3_000)])

    async def have_records() -> bool:
        pending = [(await daemon.metrics()).sum("mps_partition_pending_records") for daemon in daemons]
        return min(pending) >= 300

    await until(have_records, "each has records")
    taken = dict.fromkeys(addresses, 0)
    async with Caller(daemons[0].http_address) as caller:
        for _ in range(30):
            lease = (await caller.post(LEASES, {"records_max": 10, "wait_s": 5})).json()
            (address,) = (each for each in addresses if f"//{each}/" in lease["settle_url"])
            settlements = [{"delivery_id": each["delivery_id"], "verdict": "ack"} for each in lease["records"]]
            await caller.post(lease["settle_url"], {"settlements": settlements})
            taken[address] += 1
    assert sum(taken.values()) == 30
    assert min(taken.values()) >= 5, taken
