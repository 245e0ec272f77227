"""Logs with a history: transactions, compaction, deleted beginnings. What is not there is never waited for."""

from collections.abc import Iterator

import pytest

from mpsd.core.record import TopicPartition
from mpsd.demo.broker import KafkaCluster
from tests.integration.world import Answer, Message, Request, World, keyed, until
from tests.integration.world.mpsctl import mpsctl

pytestmark = pytest.mark.integration


async def test_only_committed_transactions_are_delivered(world: World) -> None:
    topic = await world.create_topic()
    async with world.kafka.producer(transactional_id=topic, enable_idempotence=True) as producer:
        for number in range(6):
            await producer.begin_transaction()
            for part in range(3):
                await producer.send_and_wait(topic, f"{number}/{part}".encode(), f"k{part}".encode())
            await (producer.abort_transaction() if number % 2 else producer.commit_transaction())
    accepted: list[bytes] = []

    def note(request: Request) -> Answer:
        accepted.append(request.record.value or b"")
        return Answer()

    world.application.behaviour = note
    daemon = await world.start_daemon(world.subscription(topic))
    await world.settled(topic)
    end = (await world.kafka.topics.log_end(topic))[TopicPartition(topic, 0)]
    assert end == 6 * (3 + 1), "each transaction ends with a marker, and the log with the last"
    assert sorted(accepted) == sorted(f"{number}/{part}".encode() for number in (0, 2, 4) for part in range(3))
    assert (await daemon.metrics()).sum("mps_partition_lag_records") == 0
    assert await daemon.stop() == 0
    await world.judge(topic)
    await world.start_daemon(world.subscription(topic))
    await world.produce(topic, [Message(b"k0", b"after")])
    await world.settled(topic)
    assert world.application.requests == 9 + 1


async def test_an_open_transaction_is_waited_for_and_then_delivered(world: World) -> None:
    topic = await world.create_topic()
    await world.start_daemon(world.subscription(topic))
    async with world.kafka.producer(transactional_id=topic, enable_idempotence=True) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"1", b"k")
        await world.produce(topic, [Message(b"k", b"2")])
        other = await world.create_topic()
        await world.start_daemon(world.subscription(other))
        await world.produce(other, [Message(b"k", b"3")])
        await world.settled(other)
        assert world.committed(topic) == {TopicPartition(topic, 0): 0}, "what is behind it waits"
        await producer.commit_transaction()
    await world.settled(topic)
    assert sorted(place.offset for place in world.application.accepted if place.topic == topic) == [0, 1]


async def test_a_transaction_that_stays_open_is_said_everywhere_and_its_producer_in_doctor(world: World) -> None:
    topic = await world.create_topic()
    daemon = await world.start_daemon(world.subscription(topic))
    await world.produce(topic, [Message(b"k", b"0")])
    await world.settled(topic)
    assert "open transaction" not in (await mpsctl(daemon, "doctor")).out
    async with world.kafka.producer(transactional_id=topic, enable_idempotence=True) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"1", b"k")
        await world.produce(topic, [Message(b"k", b"2"), Message(b"k", b"3")])

        async def is_said() -> bool:
            metrics = await daemon.metrics()
            waits = metrics.sum("mps_partition_state", topic=topic, state="open-transaction") == 1
            return waits and metrics.sum("mps_partition_lag_records", topic=topic) == 3

        await until(is_said, "metrics say that it waits, and the lag counts to the end of the log")
        assert "open-transaction" in (await mpsctl(daemon, "status")).out
        assert "it waits for a transaction of a producer" in (await mpsctl(daemon, "inspect", "orders")).out
        assert daemon.said(f"{topic}/0 waits", "open transaction")
        assert (await daemon.get("/readyz"))[0] == 200
        doctor = (await mpsctl(daemon, "doctor")).out
        assert f"{topic}/0 waits at 1 for an open transaction: 3 offsets" in doctor
        assert "producer id" in doctor
        await producer.commit_transaction()
    await world.settled(topic)

    async def is_over() -> bool:
        return (await daemon.metrics()).sum("mps_partition_state", topic=topic, state="open-transaction") == 0

    await until(is_over, "it waits no more")


async def test_uncommitted_records_are_delivered_where_asked_for(world: World) -> None:
    topic = await world.create_topic()
    await world.start_daemon(world.subscription(topic, isolation_level="read_uncommitted"))
    async with world.kafka.producer(transactional_id=topic, enable_idempotence=True) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"1", b"k")
        await world.application.accepts(1)
        await producer.abort_transaction()
    await world.settled(topic)


@pytest.fixture(scope="module")
def compacting_kafka() -> Iterator[list[str]]:
    """Yield a Kafka that compacts all the time."""
    with KafkaCluster(properties={"log.cleaner.backoff.ms": "50"}) as kafka:
        yield kafka.bootstrap_servers


async def test_holes_of_compaction_are_passed(compacting_kafka: list[str]) -> None:
    async with World(compacting_kafka) as world:
        topic = await world.create_topic(
            cleanup_policy="compact",
            segment_bytes="1048576",
            min_cleanable_dirty_ratio="0.001",
            max_compaction_lag_ms="1",
        )
        await world.kafka.produce(topic, [Message(f"k{n % 7}".encode(), bytes(100_000)) for n in range(35)])
        await world.produce(topic, [Message(b"last", b"")])

        async def has_holes() -> bool:
            records = await world.kafka.topics.read_all(topic)
            return len(records) < 36 and records[-1].offset == 35

        await until(has_holes, "the log is compacted", every_s=0.1)
        await world.start_daemon(world.subscription(topic))
        await world.settled(topic)
        await world.judge(topic)
        assert 8 <= len(world.application.accepted) < 36


async def test_a_log_that_begins_late_begins_there(world: World) -> None:
    topic = await world.create_topic()
    await world.kafka.produce(topic, [keyed(number, 10) for number in range(5_000)])
    await world.kafka.delete_records(topic, 0, 4_900)
    daemon = await world.start_daemon(world.subscription(topic))
    await world.settled(topic)
    assert sorted(place.offset for place in world.application.accepted) == list(range(4_900, 5_000))
    assert daemon.said("from offset 4900 of 4900 to 5000")
    assert not daemon.said("are lost"), "a group that begins has lost nothing"


async def test_a_commit_that_is_gone_from_the_log_goes_on_as_configured(world: World) -> None:
    topic = await world.create_topic()
    daemon = await world.start_daemon(world.subscription(topic))
    await world.produce(topic, [keyed(number, 10) for number in range(10)])
    await world.settled(topic)
    assert await daemon.stop() == 0
    await world.kafka.produce(topic, [keyed(number, 10) for number in range(90)])
    await world.kafka.delete_records(topic, 0, 50)
    stopped = await world.begin_daemon(world.subscription(topic, out_of_range="stop")).serving()
    await until(lambda: stopped.said("offset 10 is not in the log", "40 offsets are lost"), "it says what is gone")
    assert (await stopped.get("/readyz"))[0] == 503
    assert await stopped.stop() == 0
    assert len(world.application.accepted) == 10
    await world.start_daemon(world.subscription(topic))
    await world.settled(topic)
    assert sorted(place.offset for place in world.application.accepted) == [*range(10), *range(50, 100)]


async def test_records_deleted_while_the_application_is_stuck_are_passed(world: World) -> None:
    topic = await world.create_topic()
    world.application.hold_all()
    daemon = await world.start_daemon(
        world.subscription(topic, pending={"records_max": 10}, delivery={"concurrency_max": 2})
    )
    await world.kafka.produce(topic, [Message(f"k{n}".encode(), bytes(50_000)) for n in range(400)])
    await until(lambda: world.application.held, "it is stuck")
    await world.kafka.delete_records(topic, 0, 390)
    world.application.heal()
    await world.settled(topic)
    accepted = sorted(place.offset for place in world.application.accepted)
    assert accepted[-10:] == list(range(390, 400))
    assert await daemon.stop() == 0
