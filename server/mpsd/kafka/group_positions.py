"""How far a group is: what it has committed and where the logs end, for partitions whose daemon does not say so."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import AIOKafkaAdminClient

from mpsd.core.record import TopicPartition
from mpsd.kafka.connection import asking, existing_topics, start
from mpsd.kafka.consumer import stop

TIMEOUT_S = 10.0


async def group_positions(
    options: Mapping[str, Any], group: str, topics: Sequence[str]
) -> dict[TopicPartition, tuple[int, int]]:
    """Return the committed offset, -1 for none, and the log end of every partition of the topics that exist.

    Args:
        options: of every client: see `connection.client_options`.

    Raises:
        KafkaUnavailable, KafkaRefused: they could not be looked up.
    """
    with asking(f"look up how far group {group} is"):
        async with asyncio.timeout(TIMEOUT_S), AsyncExitStack() as stack:
            admin = AIOKafkaAdminClient(**options)
            stack.push_async_callback(admin.close)
            await start(admin, options)
            found = sorted(await existing_topics(admin, topics))
            described = await admin.describe_topics(found) if found else []
            keys = [
                ClientPartition(topic["topic"], each["partition"])
                for topic in described
                for each in topic["partitions"]
            ]
            committed = await admin.list_consumer_group_offsets(group)
            consumer = AIOKafkaConsumer(**options, enable_auto_commit=False)
            stack.push_async_callback(stop, consumer)
            await consumer.start()
            ends = await consumer.end_offsets(keys) if keys else {}
    return {TopicPartition(*key): (committed[key].offset if key in committed else -1, ends[key]) for key in keys}
