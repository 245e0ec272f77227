"""Dead letters: durable before their offset counts as done, and never nowhere."""

import asyncio
import hashlib
import time
from collections.abc import Iterator

import pytest

from mpsd.core.record import Record, TopicPartition
from mpsd.demo.broker import KafkaCluster
from tests.integration.world import Answer, Behaviour, Daemon, Message, Metrics, World, keyed, until
from tests.integration.world.world import name

pytestmark = pytest.mark.integration

DAY_MS = 86_400_000
HOLD = "dlq-blocked"
POISON = Answer(422, "no such customer")


def refusing(key: bytes | None) -> Behaviour:
    """Rejects one key."""
    return lambda request: POISON if request.record.key == key else Answer()


def headers(dead_letter: Record) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in dead_letter.headers}


async def held_partitions(daemon: Daemon) -> float:
    return (await daemon.metrics()).sum("mps_partition_state", state=HOLD)


async def test_a_dead_letter_is_the_record_and_says_why(world: World) -> None:
    topic = await world.create_topic(2)
    world.application.behaviour = refusing(b"bad")
    daemon = await world.start_daemon(world.subscription(topic))
    sent = await world.produce(
        topic,
        [
            Message(b"good", b"1", partition=1),
            Message(b"bad", b"2\xff", [("h", b"1"), ("h", b"\x00")], partition=1, timestamp_ms=1_600_000_000_000),
        ],
    )
    await world.settled(topic)
    (dead_letter,) = await world.dead_letters(topic)
    assert (dead_letter.key, dead_letter.value, dead_letter.partition) == (b"bad", b"2\xff", 1)
    assert list(dead_letter.headers[:2]) == [("h", b"1"), ("h", b"\x00")]
    said = headers(dead_letter)
    assert said["__dlq.errors.topic"] == topic
    assert (said["__dlq.errors.partition"], said["__dlq.errors.offset"]) == ("1", str(sent[1].offset))
    assert (said["__dlq.errors.group"], said["__dlq.errors.delivery.count"]) == (topic, "1")
    assert (said["mps-dlq-disposition"], said["mps-dlq-status"]) == ("rejected", "422")
    assert (said["mps-dlq-timestamp"], said["mps-dlq-endpoint"]) == ("1600000000000", world.application.url)
    assert POISON.reason in said["mps-dlq-reason"]
    assert (await daemon.metrics()).sum("mps_dead_letters_total", disposition="rejected") == 1
    await world.judge(topic)


@pytest.mark.parametrize(
    "message",
    [Message(None, None), Message(None, b""), Message(b"", None)],
    ids=["null and null", "null key", "null value"],
)
async def test_a_record_without_key_or_value_can_be_a_dead_letter(world: World, message: Message) -> None:
    topic = await world.create_topic()
    world.application.behaviour = lambda _: POISON
    await world.start_daemon(world.subscription(topic))
    await world.produce(topic, [message, keyed(1, 1)])
    await world.settled(topic)
    first, _ = await world.dead_letters(topic)
    assert (first.key, first.value) == (message.key, message.value)
    await world.judge(topic)


@pytest.mark.parametrize("key", [b"large", None], ids=["with a key", "without a key"])
async def test_a_record_too_large_for_the_topic_goes_without_its_value(world: World, key: bytes | None) -> None:
    topic = await world.create_topic(max_message_bytes=str(2 << 20))
    await world.create_dead_letter_topic(topic, max_message_bytes="4000")
    value = bytes(1 << 20)
    world.application.behaviour = lambda _: POISON
    await world.start_daemon(world.subscription(topic))
    (sent,) = await world.produce(topic, [Message(key, value, [("h", b"kept")])])
    await world.settled(topic)
    (dead_letter,) = await world.dead_letters(topic)
    said = headers(dead_letter)
    assert (dead_letter.key, dead_letter.value, said["h"]) == (key, None, "kept")
    assert said["mps-dlq-value"] == "omitted"
    assert said["mps-dlq-value-sha256"] == hashlib.sha256(value).hexdigest()
    assert said["mps-dlq-value-bytes"] == str(len(value))
    assert said["mps-dlq-value-source"] == f"{topic}/0@{sent.offset}"
    await world.judge(topic)


async def test_a_record_as_large_as_its_source_allows_keeps_its_value(world: World) -> None:
    topic = await world.create_topic(max_message_bytes=str(2 << 20))
    value = bytes((2 << 20) - 200)
    world.application.behaviour = lambda _: POISON
    await world.start_daemon(world.subscription(topic))
    await world.produce(topic, [Message(b"k", value)])
    await world.settled(topic)
    (dead_letter,) = await world.dead_letters(topic)
    assert dead_letter.value == value
    await world.judge(topic)


async def test_a_record_with_headers_beyond_http_is_undeliverable(world: World) -> None:
    topic = await world.create_topic()
    daemon = await world.start_daemon(world.subscription(topic, delivery={"request_header_bytes_max": 4_096}))
    await world.produce(topic, [Message(b"k", b"1", [("h", bytes(4_096))]), Message(b"k", b"2")])
    await world.settled(topic)
    (dead_letter,) = await world.dead_letters(topic)
    assert headers(dead_letter)["mps-dlq-disposition"] == "undeliverable"
    assert [place.offset for place in world.application.accepted] == [1]
    assert await daemon.stop() == 0
    await world.judge(topic)


async def test_while_the_topic_cannot_be_written_its_partition_waits(kafka_cluster: KafkaCluster) -> None:
    """Two in-sync replicas are asked for, and one of the two is down."""
    async with World(kafka_cluster.bootstrap_servers) as world:
        topic = name("t")
        alive = await world.kafka.coordinator(topic)  # so that nothing else waits for another to take its place
        down = 1 + alive % 3
        await world.create_topic(2, topic=topic, nodes=[alive])
        await world.create_dead_letter_topic(topic, nodes=[alive, down], min_insync_replicas="2")
        world.application.behaviour = refusing(b"bad")
        daemon = await world.start_daemon(world.subscription(topic, dead_letter={"write_timeout_s": 1.0}))
        kafka_cluster.stop_node(down, kill=True)
        try:
            await world.produce(topic, [Message(b"good", b"1", partition=0), Message(b"bad", b"2", partition=0)])
            await until(lambda: held_partitions(daemon), "the partition waits, and says so")
            await world.produce(
                topic, [Message(f"k{number}".encode(), b"", partition=number % 2) for number in range(20)]
            )
            await world.application.accepts(1 + 10)
            metrics = await until_failures(daemon, 2)
            assert metrics.sum("mps_partition_state", state=HOLD, partition="0") == 1
            assert metrics.sum("mps_partition_state", state="running", partition="1") == 1
            assert metrics.sum("mps_partition_next_offset", partition="0") == 1
            await until(lambda: world.committed(topic).get(TopicPartition(topic, 0)), "what is done is committed")
            assert world.committed(topic)[TopicPartition(topic, 0)] == 1, "the good one is done, the bad one is not"
            assert daemon.said("cannot be written to the dead-letter topic")
            assert (await daemon.get("/readyz"))[0] == 200
        finally:
            await asyncio.to_thread(kafka_cluster.start_node, down)
        await world.settled(topic)
        assert not await held_partitions(daemon)
        assert len(await world.dead_letters(topic)) == 1
        assert await daemon.stop() == 0
        await world.judge(topic)


async def until_failures(daemon: Daemon, count: int) -> Metrics:
    """Wait until so many writes to the dead-letter topic have failed."""
    seen: list[Metrics] = []

    async def failed() -> bool:
        seen.append(await daemon.metrics())
        return seen[-1].sum("mps_dead_letter_failures_total") >= count

    await until(failed, f"{count} dead letters could not be written")
    return seen[-1]


@pytest.fixture(scope="module")
def tidy_kafka() -> Iterator[list[str]]:
    """Yield a Kafka that removes expired records all the time."""
    with KafkaCluster(
        properties={"log.retention.check.interval.ms": "100", "log.segment.delete.delay.ms": "0"}
    ) as kafka:
        yield kafka.bootstrap_servers


async def test_an_old_record_s_dead_letter_outlives_retention(tidy_kafka: list[str]) -> None:
    async with World(tidy_kafka) as world:
        topic = await world.create_topic(retention_ms="-1")
        canary = await world.create_topic(retention_ms=str(7 * DAY_MS))
        world.application.behaviour = lambda _: POISON
        await world.start_daemon(world.subscription(topic, dead_letter={"retention_s": 7 * DAY_MS // 1_000}))
        old = Message(b"old", b"news", timestamp_ms=int(time.time() * 1_000) - 10 * DAY_MS)
        await world.produce(topic, [old])
        await world.settled(topic)
        await world.kafka.produce(canary, [old])

        async def is_gone() -> bool:
            return not await world.kafka.topics.read_all(canary)

        await until(is_gone, "retention takes a record of that age")
        (dead_letter,) = await world.dead_letters(topic)
        assert dead_letter.value == b"news"
        assert headers(dead_letter)["mps-dlq-timestamp"] == str(old.timestamp_ms)
        await world.judge(topic)
