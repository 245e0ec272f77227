"""Where dead-letter topics begin and end now: one connection for all of them, asked every few seconds."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition

from mpsd.core.record import LogBounds
from mpsd.kafka.connection import asking
from mpsd.kafka.consumer import stop
from mpsd.kafka.protocol import NO_ID, Metadata

TIMEOUT_S = 10.0
REQUEST_TIMEOUT_MS = 10_000


class TopicEnds(NamedTuple):
    """A topic.

    Attributes:
        id: empty where the broker does not know any.
        bounds: of its partitions, by number.
    """

    id: str
    bounds: Mapping[int, LogBounds]


class DeadLetterEnds:
    """Looks up topics that exist, and creates none by asking.

    Holds at most: one client, which is not used again once it failed.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Begin unconnected.

        Args:
            options: of every client: see `connection.client_options`.
        """
        self._options = options
        self._consumer: Any = None

    async def look(self, topics: Collection[str]) -> dict[str, TopicEnds]:
        """Return those of the topics that exist.

        Raises:
            KafkaUnavailable, KafkaRefused: they could not be looked up.
        """
        try:
            with asking("look up how many dead letters there are"):
                async with asyncio.timeout(TIMEOUT_S):
                    return await self._look(await self._connected(), topics)
        except BaseException:
            await self.close()
            raise

    async def _look(self, consumer: Any, topics: Collection[str]) -> dict[str, TopicEnds]:
        answer = await consumer._client.send(consumer._client.get_random_node(), Metadata(topics))
        found = [topic for topic in answer.to_object()["topics"] if not topic["error_code"]]
        keys = [ClientPartition(topic["name"], each["partition"]) for topic in found for each in topic["partitions"]]
        starts = await consumer.beginning_offsets(keys) if keys else {}
        ends = await consumer.end_offsets(keys) if keys else {}
        return {
            topic["name"]: TopicEnds(
                "" if topic["id"] == NO_ID else topic["id"].hex(),
                {key.partition: LogBounds(starts[key], ends[key]) for key in keys if key.topic == topic["name"]},
            )
            for topic in found
        }

    async def _connected(self) -> Any:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **self._options, group_id=None, enable_auto_commit=False, request_timeout_ms=REQUEST_TIMEOUT_MS
            )
            await self._consumer.start()
        return self._consumer

    async def close(self) -> None:
        """Disconnect; the next look connects again."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop(consumer)
