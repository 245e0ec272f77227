"""Topic ids: they tell a topic from another one of the same name."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion

from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.kafka.connection import asking
from mpsd.kafka.owned import Owned
from mpsd.kafka.protocol import NO_ID, Metadata

log = logging.getLogger("mpsd.group")

LOOK_INTERVAL_S = 1.0


class TopicIds:
    """Notices that a topic was deleted and made anew between two looks.

    Args:
        consumer: the present one.
        owned: the partitions that are ours now.
        made_anew: told those of them that belong to a topic that is gone; called again while it fails.
    """

    def __init__(
        self,
        subscription: str,
        consumer: Callable[[], Any],
        owned: Callable[[], Collection[Owned]],
        made_anew: Callable[[Sequence[Owned]], Awaitable[None]],
    ) -> None:
        self._subscription = subscription
        self._consumer = consumer
        self._owned = owned
        self._made_anew = made_anew

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            with suppress(KafkaUnavailable, KafkaRefused):
                await self._look()

    async def _look(self) -> None:
        with asking("look up topics"):
            ids = await topic_ids(self._consumer(), {each.assignment.tp.topic for each in self._owned()})
        old = [each for each in self._owned() if each.topic_id and each.topic_id != ids.get(each.assignment.tp.topic)]
        old = [each for each in old if each.assignment.tp.topic in ids]
        for topic in sorted({each.assignment.tp.topic for each in old}):
            extra = {"code": "kafka.topic_made_anew", "subscription": self._subscription}
            log.error("topic %s is another one than before: it is read from its first record", topic, extra=extra)
        if old:
            await self._made_anew(old)


async def topic_ids(consumer: Any, topics: Collection[str]) -> dict[str, bytes]:
    """Of those topics that are there; empty where the broker does not know any.

    Raises:
        KafkaError: as the library does.
    """
    node = consumer._client.get_random_node()
    if node is None or not topics:
        return {}
    try:
        answer = await consumer._client.send(node, Metadata(topics))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return {}
    found = {topic["name"]: topic for topic in answer.to_object()["topics"]}
    return {name: topic["id"] for name, topic in found.items() if topic["id"] != NO_ID}  # one without a leader has one
