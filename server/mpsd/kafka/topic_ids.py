"""Topic ids: they tell a topic from another one of the same name."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion, NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest

from mpsd.core.incarnation import Incarnation
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.kafka.connection import asking
from mpsd.kafka.owned import OwnedPartition
from mpsd.kafka.protocol import NO_ID, Metadata

log = logging.getLogger("mpsd.group")

LOOK_INTERVAL_S = 1.0


class TopicIds:
    """Notices that a topic was deleted and recreated between two looks.

    Args:
        consumer: the present one.
        owned: the partitions that are ours now.
        recreated: told those of them that belong to a topic that is gone; called again while it fails.
    """

    def __init__(
        self,
        subscription: str,
        consumer: Callable[[], Any],
        owned: Callable[[], Collection[OwnedPartition]],
        recreated: Callable[[Sequence[OwnedPartition]], Awaitable[None]],
    ) -> None:
        self._subscription = subscription
        self._consumer = consumer
        self._owned = owned
        self._recreated = recreated

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            with suppress(KafkaUnavailable, KafkaRefused):
                await self._look()

    async def _look(self) -> None:
        with asking("look up topics"):
            ids = await topic_ids(self._consumer(), {each.assignment.tp.topic for each in self._owned()})
        old = [each for each in self._owned() if self._is_of_former(each, ids)]
        for topic in sorted({each.assignment.tp.topic for each in old}):
            extra = {"code": "kafka.topic_recreated", "subscription": self._subscription}
            log.error("topic %s was recreated; reading it from its first record", topic, extra=extra)
        if old:
            await self._recreated(old)

    @staticmethod
    def _is_of_former(owned: OwnedPartition, ids: Mapping[str, bytes]) -> bool:
        """Return True if the partition's topic has another id now than when the partition was assigned."""
        known, now = owned.assignment.incarnation.topic_id, ids.get(owned.assignment.tp.topic)
        return bool(known and now) and known != now


async def topic_ids(client: Any, topics: Collection[str]) -> dict[str, bytes]:
    """Return the ids of those topics that are there; none where the broker knows no ids.

    Args:
        client: a consumer, producer or admin client of the library.

    Raises:
        KafkaError: as the library does.
    """
    if not topics or client._client.get_random_node() is None:
        return {}
    found = await incarnations(client, topics)
    return {name: incarnation.topic_id for name, incarnation in found.items() if incarnation.topic_id}


async def incarnations(client: Any, topics: Collection[str]) -> dict[str, Incarnation]:
    """Return the incarnations of those topics that the broker asked knows.

    A broker that knows no ids is asked for the cluster's alone, and all topics are said to be there.

    Args:
        client: as for `topic_ids`.

    Raises:
        KafkaError: as the library does.
    """
    if (node := client._client.get_random_node()) is None:
        raise NodeNotReadyError("no broker is known")
    try:
        answer = (await client._client.send(node, Metadata(topics))).to_object()
    except (IncompatibleBrokerVersion, NotImplementedError):
        answer = (await client._client.send(node, MetadataRequest([], False))).to_object()
        return dict.fromkeys(topics, Incarnation(cluster_id=answer.get("cluster_id") or ""))
    cluster_id = answer["cluster_id"] or ""
    return {
        topic["name"]: Incarnation(b"" if topic["id"] == NO_ID else topic["id"], cluster_id)
        for topic in answer["topics"]
        if topic["id"] != NO_ID or not topic["error_code"]  # a topic without a leader has an error and an id
    }
