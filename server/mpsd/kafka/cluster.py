"""A look at a cluster, for `mpsd --check` and `mpsd decode-offsets`."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from mpsd.core.record import TopicPartition
from mpsd.kafka.connection import asking, existing_topics, start
from mpsd.kafka.own_topics import OwnTopic
from mpsd.ports import CommitPoint

TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDescription:
    """What a topic is like.

    Attributes:
        retention_ms: -1 is for ever.
        brokers: of the whole cluster.
    """

    partitions: int
    replicas: int
    min_in_sync: int
    retention_ms: int
    brokers: int


class Cluster:
    """Use it with `async with`; each call fails with KafkaUnavailable or KafkaRefused within `TIMEOUT_S`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._admin = AIOKafkaAdminClient(**options)
        self.brokers = 0

    async def __aenter__(self) -> Self:
        try:
            with asking("connect to Kafka"):
                async with asyncio.timeout(TIMEOUT_S):
                    await start(self._admin, self._options)
                    self.brokers = len((await self._admin.describe_cluster())["brokers"])
        except BaseException:
            await self._admin.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._admin.close()

    async def describe(self, names: Sequence[str]) -> dict[str, TopicDescription]:
        """Those of the topics that exist."""
        with asking("describe topics"):
            async with asyncio.timeout(TIMEOUT_S):
                found = sorted(await existing_topics(self._admin, names))
                described = await self._admin.describe_topics(found) if found else []
                return {topic["topic"]: await self._described(topic) for topic in described}

    async def weaknesses(self, topic: OwnTopic) -> list[str] | None:
        """What is weaker than it should be of a topic of the daemon's own; None where it does not exist."""
        with asking(f"look at topic {topic.name}"):
            async with asyncio.timeout(TIMEOUT_S):
                return await topic.look(self._admin)

    async def committed(self, group: str) -> dict[TopicPartition, CommitPoint]:
        """What the group has committed of every partition, with what was written beside it."""
        with asking(f"look up what group {group} has committed"):
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._admin.list_consumer_group_offsets(group)
        return {
            TopicPartition(*tp): CommitPoint(offset, metadata or "")
            for tp, (offset, metadata) in answer.items()
            if offset >= 0
        }

    async def _described(self, topic: Any) -> TopicDescription:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic["topic"])
        answers = await self._admin.describe_configs([resource])
        configs = {entry[0]: entry[1] for answer in answers for entry in answer.resources[0][4]}
        return TopicDescription(
            partitions=len(topic["partitions"]),
            replicas=min((len(partition["replicas"]) for partition in topic["partitions"]), default=0),
            min_in_sync=int(configs.get("min.insync.replicas", 1)),
            retention_ms=int(configs.get("retention.ms", -1)),
            brokers=self.brokers,
        )
