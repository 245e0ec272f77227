"""Mistakes of the world around the daemon: it reports each without hurry, and does not give up."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from mpsd.core.record import TopicPartition
from mpsd.demo.broker import KafkaCluster
from mpsd.demo.broker.ports import free_ports
from tests.integration.world import Answer, Daemon, Message, World, configuration, run_mpsd, until
from tests.integration.world.guarded import guarded_world
from tests.integration.world.mpsctl import mpsctl
from tests.integration.world.world import name

pytestmark = pytest.mark.integration

IDLE_CPU_SHARE_MAX = 0.5
"""Share of one core, while it waits for what is not there: a busy loop takes a whole one."""


async def waits_quietly(daemon: Daemon, for_s: float) -> None:
    """Not ready, alive, without a busy loop, and without many words."""
    await daemon.serving()
    began_s, cpu_s, lines = time.monotonic(), daemon.cpu_s(), len(daemon.log())
    await until(lambda: time.monotonic() - began_s > for_s, "some time has passed")
    assert daemon.cpu_s() - cpu_s < IDLE_CPU_SHARE_MAX * (time.monotonic() - began_s)
    assert len(daemon.log()) - lines <= 15 * for_s, daemon.log_text()
    assert (await daemon.get("/readyz"))[0] == 503
    assert (await daemon.get("/healthz"))[0] == 200


async def test_a_broker_that_comes_later_is_found(kafka_bootstrap: list[str], tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with World(kafka_bootstrap) as world:
        late = {"bootstrap_servers": [f"127.0.0.1:{port}"]}
        subscription = world.subscription("late", delivery={"url": world.application.url})
        daemon = world.begin_daemon(subscription, kafka=late)
        await waits_quietly(daemon, 1.0)
        status, body = await daemon.get("/readyz")
        assert status == 503
        assert "could not" in json.loads(body)["reasons"][0]
        code, output, _ = await run_mpsd("--config", str(daemon.config), "--check")
        assert code == 1
        assert "PROBLEM kafka: could not connect to Kafka" in output
        async with KafkaCluster(port=port) as cluster, World(cluster.bootstrap_servers) as there:
            await there.kafka.create_topic("late", 1, [], {})
            await there.kafka.produce("late", [Message(b"k", b"v")])
            await daemon.ready()
            await world.application.accepts(1)
            assert await daemon.stop() == 0


async def test_a_missing_topic_is_waited_for_while_others_run(world: World) -> None:
    present, missing = await world.create_topic(), name("missing")
    daemon = world.begin_daemon(world.subscription(missing, name="waits"), world.subscription(present, name="runs"))
    await daemon.serving()
    await world.produce(present, [Message(b"k", b"1")])
    await world.settled(present)
    status, body = await daemon.get("/readyz")
    assert status == 503
    (reason,) = json.loads(body)["reasons"]
    assert missing in reason
    assert "does not exist" in reason
    assert (await daemon.metrics()).sum("mps_subscription_state", subscription="waits", state="waiting") == 1
    await world.kafka.create_topic(missing, 1, [], {})
    await world.produce(missing, [Message(b"k", b"2")])
    await world.settled(missing)
    await daemon.ready()
    await world.judge(present, missing)


async def test_what_kafka_does_not_allow_is_named_and_waited_for(guarded_kafka: KafkaCluster) -> None:
    async with guarded_world(guarded_kafka) as world:
        topic = await world.create_topic()
        tables = {"control": {"topic": f"{topic}.control", "audit_topic": ""}}
        daemon = world.begin_daemon(world.subscription(topic), **tables)
        await waits_quietly(daemon, 1.0)
        assert daemon.said("waiting", "TopicAuthorizationFailed", topic)
        code, output, _ = await run_mpsd("--config", str(daemon.config), "--check")
        assert code == 1
        assert "TopicAuthorizationFailed" in output
        await world.kafka.allow("mps", topic=topic, operations=["read", "describe"])
        await until(lambda: daemon.said("GroupAuthorization", topic), "it says that the group is refused")
        await waits_quietly(daemon, 1.0)
        _, body = await daemon.get("/readyz")
        assert "group" in json.loads(body)["reasons"][0].lower()
        await world.kafka.allow("mps", group=topic, operations=["read"])

        async def is_unread() -> bool:
            held = (await daemon.metrics()).sum("mps_partition_state", state="starting") == 1
            return held and f"TopicAuthorizationFailed ({topic}.control)" in (await daemon.get("/readyz"))[1]

        await until(is_unread, "it may read its topic, but not what was decided about it")
        await world.kafka.allow("mps", topic=f"{topic}.control", operations=["create", "read", "write", "describe"])
        await daemon.ready()
        world.application.behaviour = lambda request: Answer(422 if request.record.key == b"bad" else 200, "no")
        await world.produce(topic, [Message(b"good", b"1"), Message(b"bad", b"2")])

        async def is_held() -> bool:
            return (await daemon.metrics()).sum("mps_partition_state", state="dlq-blocked") == 1

        await until(is_held, "dead letters are refused")
        assert daemon.said("cannot be written", f"TopicAuthorizationFailed ({topic}.dlq)")
        assert max(world.committed(topic).values(), default=0) < 2, "the refused one is not done"
        await world.kafka.allow("mps", topic=f"{topic}.dlq", operations=["create", "write", "describe"])
        await world.settled(topic)
        assert await daemon.stop() == 0
        await world.judge(topic)


async def test_a_wrong_password_is_named_and_waited_for(guarded_kafka: KafkaCluster) -> None:
    async with guarded_world(guarded_kafka, password="wrong") as world:
        topic = await world.create_topic()
        daemon = world.begin_daemon(world.subscription(topic))
        await waits_quietly(daemon, 1.0)
        assert daemon.said("Authentication")
        assert "wrong" not in daemon.log_text().replace("went wrong", "")
        code, output, _ = await run_mpsd("--config", str(daemon.config), "--check")
        assert code == 1
        assert "Authentication" in output


async def test_a_port_in_use_ends_the_start_with_its_address(world: World) -> None:
    topic = await world.create_topic()
    first = await world.start_daemon(world.subscription(topic))
    for listener, address in (("http", first.http_address), ("admin", first.admin_address)):
        second = world.begin_daemon(world.subscription(topic), **{listener: {"listen": address}})
        assert await second.ended() == 1
        assert second.said(listener, address)
        assert "Traceback" not in second.log_text()
    assert (await first.get("/readyz"))[0] == 200


async def test_every_error_of_the_configuration_is_listed_at_once(tmp_path: Path) -> None:
    subscription = {
        "name": "orders",
        "topics": ["orders"],
        "group": "orders",
        "delivery": {"protocol": "rest", "url": "127.0.0.1:8000/orders", "timeout_s": 60, "concurency_max": 5},
        "dead_letter": {"topic": "orders"},
        "retry": {"attempts_max": 0},
        "rebalance": {"drain_timeout_s": 1.0},
    }
    file = tmp_path / "mps.toml"
    file.write_text(configuration(["127.0.0.1:1"], subscription, subscription, kafak={"x": 1}))
    for option in ((), ("--check",), ("--print-config",)):
        code, output, complaint = await run_mpsd("--config", str(file), *option)
        assert code == 2
        assert not output
        for word in (
            "kafak",
            "concurency_max",
            "concurrency_max",
            "http://",
            "attempts_max",
            "dead_letter",
            "drain_timeout_s",
        ):
            assert word in complaint, word
        assert "Traceback" not in complaint
        assert complaint.count("\n") > 6


@pytest.mark.parametrize(
    "nonsense",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-endless: nonsense\r\n" * 40_000,
        b"HTTP/1.1 500 No\r\ncontent-length: 999999999\r\n\r\n" + bytes(1 << 20),
        b"",
    ],
    ids=["not HTTP", "endless headers", "endless body", "closed without a word"],
)
async def test_an_application_that_talks_nonsense_is_survived(world: World, nonsense: bytes) -> None:
    topic = await world.create_topic()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(nonsense)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        subscription = world.subscription(
            topic, delivery={"url": f"http://127.0.0.1:{port}/"}, retry={"attempts_max": 2}
        )
        daemon = await world.start_daemon(subscription)
        before_mib = daemon.rss_mib()
        await world.produce(topic, [Message(b"k", b"1")])
        await world.settled(topic)
        assert len(await world.dead_letters(topic)) == 1
        assert daemon.rss_mib() < before_mib + 20
        assert await daemon.stop() == 0


async def test_a_batch_that_becomes_too_large_stops_its_partition_and_nothing_else(world: World) -> None:
    """300 MiB of zeros are a few kilobytes on their way."""
    topic = await world.create_topic(2)
    daemon = await world.start_daemon(world.subscription(topic))
    await world.produce(topic, [Message(b"k", b"0", partition=0)])
    await world.settled(topic)
    before_mib = daemon.rss_mib()
    bomb = Message(b"bomb", bytes(300 << 20), partition=0)
    (placed,) = await world.kafka.produce(topic, [bomb], compression_type="zstd", max_request_size=1 << 30)
    await world.produce(topic, [Message(b"k", b"2", partition=0)])

    async def is_stopped() -> bool:
        return (await daemon.metrics()).sum("mps_partition_state", topic=topic, partition="0", state="unreadable") == 1

    await until(is_stopped, "the partition is stopped")
    assert daemon.said(f"{topic}/0@{placed.offset} cannot be read", "kafka.batch_bytes_max, 33554432")
    others = await world.produce(topic, [Message(f"k{number}".encode(), b"", partition=1) for number in range(50)])
    await world.application.accepts(1 + len(others))
    assert daemon.rss_mib() < before_mib + 60, "it was not decompressed"
    assert (await daemon.get("/readyz"))[0] == 200
    assert world.committed(topic)[TopicPartition(topic, 0)] == placed.offset, "nothing is committed past it"
    reset = await mpsctl(daemon, "reset", "orders", "--to", f"{topic}/0@{placed.offset + 1}", "--yes")
    assert reset.code == 0, reset
    await world.settled(topic)
    assert not await is_stopped()


async def test_records_before_a_batch_that_becomes_too_large_are_delivered(world: World) -> None:
    """All of it is in one fetch, with records of other partitions that must not be lost."""
    topic = await world.create_topic(3)
    expected = []
    for partition in range(3):
        small = [Message(f"k{partition}{number}".encode(), b"", partition=partition) for number in range(20)]
        expected += await world.produce(topic, small)
        if partition == 1:
            bomb = Message(b"bomb", bytes(40 << 20), partition=1)
            await world.kafka.produce(topic, [bomb], compression_type="zstd", max_request_size=1 << 30)
            await world.produce(topic, [Message(b"behind", b"", partition=1)])
    daemon = await world.start_daemon(world.subscription(topic))
    await world.application.accepts(len(expected))
    assert {place.offset for place in world.application.accepted if place.partition == 1} == set(range(20))
    assert daemon.said("cannot be read")
    assert await daemon.stop() == 0
    await world.start_daemon(world.subscription(topic), kafka={"batch_bytes_max": 64 << 20})
    await world.settled(topic)


async def test_a_misspelt_header_in_the_url_does_not_dead_letter_the_topic(world: World) -> None:
    """No record can fill the URL, which counts as a refusal, so the brake of the subscription holds."""
    topic = await world.create_topic(2)
    subscription = world.subscription(topic, delivery={"url": f"{world.application.url}/{{header:tennant}}"})
    del subscription["retry"], subscription["breaker"]
    await world.start_daemon(subscription)
    tenant = [("tenant", b"a")]
    await world.produce(topic, [Message(b"k%d" % (number % 50), b"v", headers=tenant) for number in range(1_000)])

    async def dead() -> int:
        return len(await world.dead_letters(topic))

    await until(lambda: said_all_rejected(world), "the subscription says that all is rejected")
    assert 100 <= await dead() <= 110
    assert world.application.requests == 0
    reasons = {
        (dict(dead_letter.headers)["mps-dlq-reason"] or b"").decode() for dead_letter in await world.dead_letters(topic)
    }
    assert reasons == {"delivery.url cannot be filled: its header tennant is missing or empty"}


def said_all_rejected(world: World) -> bool:
    return world.daemons[0].said("its header tennant is missing or empty", "rejects everything")
