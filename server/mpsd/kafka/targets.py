"""Where a reset would take each partition: looked up, and nothing moved."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import AIOKafkaAdminClient

from mpsd.core.record import TopicPartition
from mpsd.core.resets import Move, To
from mpsd.errors import KafkaUnavailable
from mpsd.kafka.connection import asking, existing_topics, start
from mpsd.kafka.consumer import stop

TIMEOUT_S = 15.0


async def moves(options: Mapping[str, Any], group: str, topics: Sequence[str], to: To) -> dict[TopicPartition, Move]:
    """What a reset of the group would do; offsets beyond the log are moved to its nearest edge.

    Partitions that are named and not there are left out.

    Args:
        options: of every client: see `connection.client_options`.

    Raises:
        KafkaUnavailable, KafkaRefused: it could not be looked up, or a topic is missing.
    """
    with asking(f"look up where a reset would take group {group}"):
        async with asyncio.timeout(TIMEOUT_S), AsyncExitStack() as stack:
            admin = AIOKafkaAdminClient(**options)
            stack.push_async_callback(admin.close)
            await start(admin, options)
            if missing := set(topics) - await existing_topics(admin, topics):
                raise KafkaUnavailable(f"topic {', '.join(sorted(missing))} does not exist")
            described = await admin.describe_topics(list(topics))
            keys = [
                ClientPartition(topic["topic"], each["partition"])
                for topic in described
                for each in topic["partitions"]
            ]
            committed = await admin.list_consumer_group_offsets(group)
            consumer = AIOKafkaConsumer(**options, enable_auto_commit=False)
            stack.push_async_callback(stop, consumer)
            await consumer.start()
            starts, ends = await consumer.beginning_offsets(keys), await consumer.end_offsets(keys)
            wanted = await _wanted(consumer, keys, to, starts, ends)
    return {
        TopicPartition(*key): Move(
            committed=committed[key].offset if key in committed else -1,
            to=min(max(wanted[key], starts[key]), ends[key]),
            log_start=starts[key],
            log_end=ends[key],
        )
        for key in keys
        if key in wanted
    }


async def _wanted(
    consumer: Any, keys: Sequence[Any], to: To, starts: Mapping[Any, int], ends: Mapping[Any, int]
) -> Mapping[Any, int]:
    match to:
        case "earliest":
            return starts
        case "latest":
            return ends
        case datetime():
            found = await consumer.offsets_for_times(dict.fromkeys(keys, int(to.timestamp() * 1000)))
            return {key: ends[key] if found.get(key) is None else found[key].offset for key in keys}
        case _:
            return {key: to[TopicPartition(*key)] for key in keys if TopicPartition(*key) in to}
