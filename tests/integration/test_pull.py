"""Pull on a real Kafka: callers that come, go, and are killed; daemons behind a load balancer."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from tests.conformance.http_client import Caller
from tests.integration.world import Message, World, keyed, until
from tests.integration.world.pulling import PullingApplication

pytestmark = pytest.mark.integration

LEASES = "/v1/subscriptions/orders/leases"
TAKER = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], data=sys.argv[2].encode())
print(urllib.request.urlopen(request).read().decode(), flush=True)
sys.stdin.read()
"""
"""A caller in a process of its own: takes a lease, prints it, and holds it until it dies."""


def pulled(world: World, topic: str, **delivery: Any) -> dict[str, Any]:
    given = world.subscription(topic)
    return {**given, "delivery": {"protocol": "pull", **delivery}}


def take(address: str, wanted: str) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-c", TAKER, f"http://{address}{LEASES}", wanted]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def test_callers_get_every_record_once_and_in_order(world: World) -> None:
    topic = await world.create_topic(4)
    daemon = await world.start_daemon(pulled(world, topic))
    async with PullingApplication([daemon.http_address]) as application:
        await world.produce(topic, [keyed(number, 40) for number in range(2_000)])
        await world.settled(topic)
        metrics = await daemon.metrics()
        assert metrics.sum("mps_deliveries_total", outcome="delivered") == 2_000
    assert set(application.results) == {"settled"}
    assert set(application.accepted.values()) == {1}
    assert await daemon.stop() == 0
    await world.judge(topic, applications=[application])


async def test_what_a_killed_caller_held_goes_to_another(world: World) -> None:
    topic = await world.create_topic(1)
    daemon = await world.start_daemon(pulled(world, topic, lease_s=2.0))
    with take(daemon.http_address, '{"wait_s": 30}') as waiting:
        try:
            await _waits(daemon)
        finally:
            waiting.kill()
    await world.produce(topic, [keyed(number, 10) for number in range(10)])
    with take(daemon.http_address, '{"records_max": 6}') as holding:
        assert holding.stdout is not None
        line = await asyncio.to_thread(holding.stdout.readline)
        assert line.count(b"delivery_id") == 6  # the first had gone before, and holds none
        holding.kill()
    async with PullingApplication([daemon.http_address]) as application:
        await world.settled(topic)
    assert len(application.accepted) == 10
    metrics = await daemon.metrics()
    assert metrics.sum("mps_deliveries_total", outcome="lease_expired") == 6


async def test_any_daemon_serves_any_caller(world: World) -> None:
    """One of them has no partition: what the other has comes through it, and goes back through it."""
    topic = await world.create_topic(1)
    subscription = pulled(world, topic)
    daemons = [await world.start_daemon(subscription) for _ in range(2)]
    addresses = [daemon.http_address for daemon in daemons]
    assigned = [(await daemon.metrics()).sum("mps_assigned_partitions") for daemon in daemons]
    assert sorted(assigned) == [0, 1]
    busy, idle = sorted(addresses, key=lambda address: -assigned[addresses.index(address)])
    await world.produce(topic, [Message(b"k", b"v"), *[keyed(number, 40) for number in range(400)]])
    async with Caller(idle) as caller:
        lease = (await caller.post(LEASES, {"records_max": 1})).json()
        assert lease["records"][0]["value"] == "v"
        assert lease["settle_url"].startswith(f"http://{busy}/")
        (record,) = lease["records"]
        extended = await caller.post(lease["extend_url"], {"delivery_ids": [record["delivery_id"]], "lease_s": 20})
        assert extended.json()["results"][0]["result"] == "extended"
        settled = {"settlements": [{"delivery_id": record["delivery_id"], "verdict": "ack"}]}
        assert (await caller.post(lease["settle_url"], settled)).json()["results"][0]["result"] == "settled"
    async with PullingApplication(addresses) as application:
        await world.settled(topic)
    assert set(application.results) == {"settled"}
    assert len(application.accepted) == 400


async def test_the_last_caller_is_told_when_the_daemon_stops(world: World) -> None:
    topic = await world.create_topic(1)
    daemon = await world.start_daemon(pulled(world, topic))
    await world.produce(topic, [Message(b"k", b"v")])
    async with Caller(daemon.http_address) as holder, Caller(daemon.http_address) as waiter:
        lease = (await holder.post(LEASES)).json()
        waiting = asyncio.ensure_future(waiter.post(LEASES, {"wait_s": 30}))
        await _waits(daemon)
        daemon.signal()
        assert (await waiting).status == 503
        settled = {"settlements": [{"delivery_id": lease["records"][0]["delivery_id"], "verdict": "ack"}]}
        assert (await holder.post(lease["settle_url"], settled)).json()["results"][0]["result"] == "settled"
    assert await daemon.ended() == 0
    await world.settled(topic)


async def _waits(daemon: Any) -> None:
    async def one() -> bool:
        metrics = await daemon.metrics()
        return bool(metrics.sum("mps_stage_statistic", stage="adapter", statistic="waiters") == 1)

    await until(one, "a caller waits")
