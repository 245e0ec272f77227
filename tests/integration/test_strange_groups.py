"""Groups with members that assign partitions in another way."""

import json

import pytest
from aiokafka.errors import KafkaError

from tests.integration.world import Daemon, Message, World, until
from tests.integration.world.new_member import new_member

pytestmark = pytest.mark.integration

WORDS = "the group has members that assign partitions in another way"


async def is_refused(daemon: Daemon) -> bool:
    status, body = await daemon.get("/readyz")
    return status == 503 and WORDS in json.loads(body)["reasons"][0]


async def test_a_group_of_the_consumer_protocol_is_not_joined(world: World) -> None:
    topic = await world.create_topic(4)
    async with new_member(world.kafka, topic, topic) as member:
        await until(lambda: member.held, "it has all partitions")
        held = member.held
        daemon = await world.begin_daemon(world.subscription(topic)).serving()
        await until(lambda: is_refused(daemon), "the daemon refuses the group")
        await world.produce(topic, [Message(f"k{number}".encode(), b"") for number in range(8)])
        assert member.held == held, "it did not have to give one away"
        assert not world.application.requests
    await daemon.ready()
    await world.settled(topic)
    await world.judge(topic)


async def test_a_member_of_the_consumer_protocol_cannot_join_a_group_of_ours(world: World) -> None:
    """The broker keeps it out, because it knows nothing of our assignor."""
    topic = await world.create_topic(4)
    daemon = await world.start_daemon(world.subscription(topic))
    with pytest.raises(KafkaError, match="unsupported custom assignor"):
        async with new_member(world.kafka, topic, topic) as member:
            await until(lambda: member.has_failed, "it is refused")
    await world.produce(topic, [Message(f"k{number}".encode(), b"") for number in range(8)])
    await world.settled(topic)
    assert await daemon.stop() == 0
    await world.judge(topic)
