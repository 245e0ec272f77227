"""The admin service of two daemons on a real Kafka."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from mps.admin.v1 import admin_pb2 as pb
from mps.admin.v1 import admin_pb2_grpc
from tests.integration.world import World
from tests.integration.world.daemon import Daemon
from tests.integration.world.patience import until

pytestmark = pytest.mark.integration
TOKENS = """
[[tokens]]
name = "grafana"
role = "viewer"
token = "vvvvvvvvvvvvvvvvvvvv"
[[tokens]]
name = "ops"
role = "operator"
token = "oooooooooooooooooooo"
"""
VIEWER = [("authorization", "Bearer vvvvvvvvvvvvvvvvvvvv")]
OPERATOR = [("authorization", "Bearer oooooooooooooooooooo")]


def stub(channel: aio.Channel) -> Any:
    return admin_pb2_grpc.AdminStub(channel)


async def two(world: World, **tables: Any) -> tuple[str, list[Daemon]]:
    """Daemons that have four partitions of a topic, and each of them some."""
    topic = await world.create_topic(4)
    control = {"topic": f"{topic}.control", "audit_topic": f"{topic}.audit"}
    daemons = [await world.start_daemon(world.subscription(topic), control=control, **tables) for _ in range(2)]

    async def shared() -> bool:
        counts = [len((await daemon.metrics()).all("mps_partition_epoch")) for daemon in daemons]
        return counts == [2, 2]

    await until(shared, "both have partitions")
    return topic, daemons


async def test_a_pause_holds_for_all_once_it_is_confirmed(world: World, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(TOKENS)
    topic, daemons = await two(world, admin={"tokens_file": str(tokens)})
    channels = [aio.insecure_channel(daemon.admin_address) for daemon in daemons]
    first, other = map(stub, channels)
    selection = pb.Selection(subscription="orders")
    async with world.producing(topic, keys=50, per_s=200):
        await until(lambda: world.application.requests > 100, "records are delivered")
        change = pb.Change(request_id="pause-1", reason="the database is on fire")
        with pytest.raises(aio.AioRpcError) as caught:
            await first.Pause(pb.PauseRequest(change=change, selection=selection), metadata=VIEWER)
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        request = pb.PauseRequest(change=change, selection=selection)
        changed = (await first.Pause(request, metadata=OPERATOR, timeout=30)).changed
        assert changed.confirmed, changed
        assert len(changed.instances) == 2
        again = (await other.Pause(request, metadata=OPERATOR, timeout=30)).changed
        assert again.revision == changed.revision

        async def nothing_is_in_flight() -> bool:
            return not sum([(await daemon.metrics()).sum("mps_in_flight_records") for daemon in daemons])

        await until(nothing_is_in_flight, "what was in flight has ended")
        before = world.application.requests
        await asyncio.sleep(1.5)
        assert world.application.requests == before
        said = (await other.GetStatus(pb.GetStatusRequest(), metadata=VIEWER)).status.subscriptions[0]
        assert said.state == "paused"
        assert [(pause.provenance.who, pause.provenance.reason) for pause in said.pauses] == [
            ("ops", "the database is on fire")
        ]
        lanes = (await other.Inspect(pb.InspectRequest(selection=selection), metadata=VIEWER)).lanes
        assert {lane.state for lane in lanes} == {"paused"}
        change = pb.Change(request_id="resume-1", reason="it is out")
        answer = await other.Resume(pb.ResumeRequest(change=change, selection=selection), metadata=OPERATOR, timeout=30)
        assert answer.changed.confirmed
        await until(lambda: world.application.requests > before, "deliveries go on")
    await world.settled()
    audit = await first.ListAudit(pb.ListAuditRequest(), metadata=VIEWER)
    assert [(entry.method, entry.provenance.who) for entry in audit.entries] == [("Resume", "ops"), ("Pause", "ops")]
    for channel in channels:
        await channel.close()


async def test_a_frozen_instance_is_listed_as_not_answering(world: World) -> None:
    _, (one, frozen) = await two(world, admin={"peer_timeout_s": 1.0})
    async with aio.insecure_channel(one.admin_address) as channel:
        status = (await stub(channel).GetStatus(pb.GetStatusRequest(), timeout=10)).status
        assert [instance.answered for instance in status.instances] == [True, True]
        address = frozen.admin_address
        with frozen.frozen():
            status = (await stub(channel).GetStatus(pb.GetStatusRequest(partitions=True), timeout=5)).status
        silent = {instance.address: instance.problem for instance in status.instances if not instance.answered}
        assert silent.keys() == {address}
        assert "no answer within" in silent[address]
        parts = status.subscriptions[0].partitions
        assert [part.partition for part in parts] == list(range(len(parts)))
        assert {part.instance for part in parts} == {one.admin_address, address}
        assert all(part.HasField("flow") == (part.instance != address) for part in parts)
        findings = (await stub(channel).Diagnose(pb.DiagnoseRequest(), timeout=30)).findings
        assert {address for finding in findings for address in finding.instances} >= {one.admin_address}
