"""Topics as an operator handles them, on a real broker."""

from collections.abc import Callable

import pytest

from mpsd.errors import KafkaUnavailable
from mpsd.kafka.topics import Topics

pytestmark = pytest.mark.integration

UniqueName = Callable[[str], str]


async def test_a_topic_comes_and_goes(kafka_bootstrap: list[str], unique_name: UniqueName) -> None:
    topic = unique_name("topics")
    async with Topics(kafka_bootstrap) as topics:
        assert not await topics.exists(topic)
        await topics.create(topic, 1)
        assert await topics.exists(topic)
        assert await topics.read_all(topic) == []
        await topics.delete([topic])
        assert not await topics.exists(topic)


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
