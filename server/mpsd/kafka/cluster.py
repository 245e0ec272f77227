"""A look at a cluster, for `mpsd --check` and `mpsd decode-offsets`."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    IncompatibleBrokerVersion,
    NotCoordinatorForGroupError,
    for_code,
)

from mpsd.core.incarnation import Incarnation
from mpsd.core.record import TopicPartition
from mpsd.kafka.connection import asking, start
from mpsd.kafka.dead_letter_topic import DeadLetterSettings, create
from mpsd.kafka.internal_topics import InternalTopic
from mpsd.kafka.protocol import GroupRights, rights
from mpsd.kafka.topic_ids import incarnations
from mpsd.kafka.topic_look import TopicLook, look_at
from mpsd.ports import CommitPoint

TIMEOUT_S = 15.0
COORDINATOR_REST_S = 0.2
NOT_YET = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)
"""The first group of a cluster waits until the coordinators' topic is made."""


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

    async def look(self, names: Sequence[str]) -> dict[str, TopicLook]:
        """Look at topics, each as far as the user may see it."""
        with asking("look at topics"):
            async with asyncio.timeout(TIMEOUT_S):
                return await look_at(self._admin, names)

    async def try_to_create(self, settings: DeadLetterSettings, looks: Mapping[str, TopicLook]) -> None:
        """Let the broker say whether it would make the dead-letter topic; nothing is made."""
        with asking(f"create dead-letter topic {settings.topic}"):
            async with asyncio.timeout(TIMEOUT_S):
                await create(self._admin, settings, looks, self.brokers, only_try=True)

    async def try_to_make(self, topic: InternalTopic) -> None:
        """Let the broker say whether it would make a topic of the daemon's own; nothing is made."""
        with asking(f"create topic {topic.name}"):
            async with asyncio.timeout(TIMEOUT_S):
                await topic.create(self._admin, only_try=True)

    async def group_rights(self, group: str) -> frozenset[str] | None:
        """Return the operations on the group that the user is allowed; None where the broker is too old to say."""
        with asking(f"look at group {group}"):
            async with asyncio.timeout(TIMEOUT_S):
                while True:
                    with suppress(*NOT_YET):
                        return await self._group_rights(group)
                    await asyncio.sleep(COORDINATOR_REST_S)

    async def _group_rights(self, group: str) -> frozenset[str] | None:
        try:
            answer = await self._admin._send_request(GroupRights(group), await self._admin.find_coordinator(group))
        except (IncompatibleBrokerVersion, NotImplementedError):
            return None
        (described,) = answer.to_object()["groups"]
        if described["error_code"]:
            raise for_code(described["error_code"])(group)
        return rights(described["authorized_operations"])

    async def weaknesses(self, topic: InternalTopic) -> list[str] | None:
        """What is weaker than it should be of a topic of the daemon's own; None where it does not exist."""
        with asking(f"look at topic {topic.name}"):
            async with asyncio.timeout(TIMEOUT_S):
                return await topic.look(self._admin)

    async def incarnations(self, topics: Collection[str]) -> dict[str, Incarnation]:
        """Return which topics those of the names are now, without those that do not exist."""
        with asking("look up topics"):
            async with asyncio.timeout(TIMEOUT_S):
                return await incarnations(self._admin, topics) if topics else {}

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
