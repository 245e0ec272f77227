"""Topic ids: what tells a topic from another one of the same name. The client library's own requests are too old to have them.

Source: Apache Kafka's protocol, Metadata request and response, version 10.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields
from typing_extensions import override

from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.kafka.connection import asking
from mpsd.kafka.owned import Owned

log = logging.getLogger("mpsd.group")

LOOK_INTERVAL_S = 1.0
_API_KEY, _VERSION = 3, 10
_TEXT = CompactString("utf-8")
_NO_ID = bytes(16)


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
        answer = await consumer._client.send(node, _Metadata(topics))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return {}
    found = {topic["name"]: topic for topic in answer.to_object()["topics"]}
    return {name: topic["id"] for name, topic in found.items() if topic["id"] != _NO_ID}  # one without a leader has one


class _Uuid:
    @staticmethod
    def encode(value: bytes) -> bytes:
        return value

    @staticmethod
    def decode(data: BytesIO) -> bytes:
        return data.read(16)

    @staticmethod
    def repr(value: bytes) -> str:
        return value.hex()


class _MetadataResponse(Response):  # type: ignore[misc]  # the library is not typed
    API_KEY = _API_KEY
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), ("tags", TaggedFields)),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = _API_KEY
    API_VERSION = _VERSION
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("id", _Uuid), ("name", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Metadata(Request[_MetadataRequest]):  # type: ignore[misc]
    API_KEY = _API_KEY

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    @override
    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        return request_struct_class([(_NO_ID, topic, {}) for topic in self._topics], False, False, False, {})
