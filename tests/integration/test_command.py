"""The command's other ways, and what a running daemon can be asked."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.integration.world import Message, World, run_mpsd

pytestmark = pytest.mark.integration

SERVING = health_pb2.HealthCheckResponse.SERVING


async def test_a_running_daemon_can_be_asked(world: World) -> None:
    topic = await world.create_topic(2)
    daemon = await world.start_daemon(world.subscription(topic, name="billing"))
    await world.produce(topic, [Message(f"k{number}".encode(), b"v") for number in range(10)])
    await world.settled(topic)
    for path, said in (("/healthz", "alive"), ("/readyz", "ready")):
        status, body = await daemon.get(path)
        assert (status, json.loads(body)) == (200, {"status": said, "reasons": []})
    metrics = await daemon.metrics()
    assert metrics.sum("mps_deliveries_total", subscription="billing", outcome="delivered") == 10
    assert metrics.sum("mps_endpoint_latency_seconds_count") == 10
    assert metrics.sum("mps_end_to_end_latency_seconds_count") == 10
    assert metrics.sum("mps_assigned_partitions") == 2
    assert metrics.sum("mps_partition_committed_offset", topic=topic) == 10
    assert metrics.sum("mps_subscription_state", state="running") == 1
    assert metrics.sum("process_resident_memory_bytes") > 0
    assert (await daemon.get("/nothing"))[0] == 404
    async with aio.insecure_channel(daemon.admin_address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == SERVING
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        make_stub: Any = reflection_pb2_grpc.ServerReflectionStub
        services = [answer async for answer in make_stub(channel).ServerReflectionInfo(iter([asked]))]
        assert "grpc.health.v1.Health" in str(services)
    assert all({"time", "level", "logger", "message", "instance"} <= line.keys() for line in daemon.log())
    assert {line["instance"] for line in daemon.log()} == {daemon.admin_address}
    assert [line for line in daemon.log() if line["level"] == "error"] == [], "a clean start"
    assert not [line for line in daemon.log() if "aiokafka" in line["logger"] and line["level"] != "warning"]
    assert await daemon.stop() == 0


async def test_check_says_what_would_be_done(world: World, tmp_path: Path) -> None:
    topic = await world.create_topic(3)
    file = tmp_path / "mps.toml"
    file.write_text(world.configuration(world.subscription(topic)))
    code, output, complaint = await run_mpsd("--config", str(file), "--check")
    assert (code, complaint) == (0, "")
    assert f"ok      orders: reads topic {topic}: 3 partition(s)" in output
    assert f"would create dead-letter topic {topic}.dlq" in output
    assert f"posts to {world.application.url}" in output
    assert not await world.kafka.topics.exists(f"{topic}.dlq"), "a check changes nothing"
    assert not world.application.requests
    await world.create_dead_letter_topic(topic, retention_ms="1000")
    await world.application.go_away()
    code, output, _ = await run_mpsd("--config", str(file), "--check", "--json")
    said = json.loads(output)
    assert (code, said["ok"]) == (1, False)
    problems = " ".join(finding["text"] for finding in said["findings"] if not finding["ok"])
    assert "retention.ms=1000 keeps dead letters 1 s instead of" in problems
    assert world.application.url in problems


async def test_print_config_shows_what_is_in_effect_and_no_secret(world: World, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("bearer-secret")
    file = tmp_path / "mps.toml"
    auth = {"auth": {"bearer": {"file": str(token)}}}
    file.write_text(world.configuration(world.subscription("orders", delivery=auth)))
    code, output, _ = await run_mpsd("--config", str(file), "--print-config", "--set", "kafka.client_id=test")
    shown = tomllib.loads(output)
    assert code == 0
    assert shown["kafka"]["client_id"] == "test"
    assert shown["subscriptions"][0]["delivery"]["timeout_s"] == 30.0
    assert "bearer-secret" not in output
    shown_file = tmp_path / "shown.toml"
    shown_file.write_text(output)
    assert (await run_mpsd("--config", str(shown_file), "--print-config"))[:2] == (0, output)


async def test_init_writes_a_configuration_once_and_schema_describes_it(tmp_path: Path) -> None:
    code, output, _ = await run_mpsd("init", cwd=tmp_path)
    assert code == 0
    assert "wrote mps.toml" in output
    written = (tmp_path / "mps.toml").read_text()
    assert (await run_mpsd("init", cwd=tmp_path))[0] == 1
    assert (tmp_path / "mps.toml").read_text() == written
    assert await run_mpsd("init", "-") == (0, written, "")
    assert (await run_mpsd("--config", "mps.toml", "--print-config", cwd=tmp_path))[0] == 0
    code, output, _ = await run_mpsd("schema")
    assert code == 0
    assert json.loads(output)["properties"].keys() >= {"kafka", "subscriptions"}


@pytest.mark.parametrize("arguments", [(), ("--check",), ("--no-such-flag",), ("--config", "missing.toml")])
async def test_a_command_line_that_makes_no_sense_is_one(arguments: tuple[str, ...], tmp_path: Path) -> None:
    code, _, complaint = await run_mpsd(*arguments, cwd=tmp_path)
    assert code == 2
    assert "Traceback" not in complaint
