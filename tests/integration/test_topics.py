"""Topics as an operator handles them, on a real broker."""

from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer

from mpsd.core.record import TopicPartition
from mpsd.errors import KafkaUnavailable
from mpsd.kafka.topics import Message, Topics

pytestmark = pytest.mark.integration

UniqueName = Callable[[str], str]


async def test_what_was_produced_is_read_back(kafka_bootstrap: list[str], unique_name: UniqueName) -> None:
    topic = unique_name("topics")
    messages = [
        Message(b"key", b"value", [("name", b"1"), ("name", b"2")]),
        Message(None, b""),
        Message(b"", None),
        *(Message(f"key-{number}".encode(), b"x" * 1000) for number in range(500)),
    ]
    async with Topics(kafka_bootstrap) as topics:
        await topics.create(topic, 3)
        written = await topics.produce(topic, messages)
        records = {(record.partition, record.offset): record for record in await topics.read_all(topic)}
        ends = await topics.log_end(topic)
    assert len(records) == len(written) == len(messages)
    for message, where in zip(messages, written, strict=True):
        record = records[where]
        assert (record.key, record.value, list(record.headers)) == (message.key, message.value, list(message.headers))
    assert sum(ends.values()) == len(messages)
    assert set(ends) == {TopicPartition(topic, partition) for partition in range(3)}


async def test_a_topic_comes_and_goes(kafka_bootstrap: list[str], unique_name: UniqueName) -> None:
    topic = unique_name("topics")
    async with Topics(kafka_bootstrap) as topics:
        assert not await topics.exists(topic)
        await topics.create(topic, 1)
        assert await topics.exists(topic)
        assert await topics.read_all(topic) == []
        await topics.delete([topic])
        assert not await topics.exists(topic)


async def test_committed_offsets_are_those_of_the_group(kafka_bootstrap: list[str], unique_name: UniqueName) -> None:
    topic, group = unique_name("topics"), unique_name("group")
    async with Topics(kafka_bootstrap) as topics:
        await topics.create(topic, 2)
        await topics.produce(topic, [Message(b"a", b"1"), Message(b"a", b"2")])
        async with AIOKafkaConsumer(
            topic, bootstrap_servers=kafka_bootstrap, group_id=group, auto_offset_reset="earliest"
        ) as consumer:
            record = await consumer.getone()
            await consumer.commit()
        committed = await topics.committed(group)
    assert committed[TopicPartition(topic, record.partition)] in {1, 2}


async def test_what_kafka_refuses_is_said_in_words(kafka_bootstrap: list[str], unique_name: UniqueName) -> None:
    topic = unique_name("topics")
    async with Topics(kafka_bootstrap) as topics:
        with pytest.raises(KafkaUnavailable, match=f"could not read {topic}"):
            await topics.read_all(topic)
        await topics.create(topic, 1)
        with pytest.raises(KafkaUnavailable, match=f"could not create topic {topic}: .*TopicAlreadyExists"):
            await topics.create(topic, 1)


async def test_nobody_there_is_said_in_words(unused_tcp_port: int) -> None:
    with pytest.raises(KafkaUnavailable, match="could not connect"):
        async with Topics([f"127.0.0.1:{unused_tcp_port}"]):
            pass
