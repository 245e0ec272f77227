"""A member of a group by the consumer protocol (KIP-848), which the client library does not speak.

Source: Apache Kafka's protocol, ConsumerGroupHeartbeat version 0.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from typing import Any

from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int8, Int16, Int32, Schema, TaggedFields

from mpsd.kafka.protocol import _Uuid
from tests.integration.world.kafka import Kafka

_TEXT = CompactString("utf-8")
_BLOCKED = CompactArray(("topic_id", _Uuid), ("partitions", CompactArray(Int32)), ("tags", TaggedFields))
_HEARTBEAT_S = 0.3
_LEAVE = -1
_NOT_YET = {14, 16}
"""CoordinatorLoadInProgress and NotCoordinator: the coordinators' topic is young."""


class _Given:
    """A nullable struct."""

    @staticmethod
    def decode(data: BytesIO) -> Any:
        return None if Int8.decode(data) < 0 else _BLOCKED.decode(data)

    @staticmethod
    def repr(value: Any) -> str:
        return repr(value)


class _HeartbeatResponse(Response):  # type: ignore[misc]
    API_KEY = 68
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", _TEXT),
        ("member_id", _TEXT),
        ("member_epoch", Int32),
        ("heartbeat_interval_ms", Int32),
        ("given", _Given),
    )


class _HeartbeatRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 68
    API_VERSION = 0
    RESPONSE_TYPE = _HeartbeatResponse
    SCHEMA = Schema(
        ("group", _TEXT),
        ("member_id", _TEXT),
        ("member_epoch", Int32),
        ("instance_id", _TEXT),
        ("rack_id", _TEXT),
        ("rebalance_timeout_ms", Int32),
        ("topics", CompactArray(_TEXT)),
        ("assignor", _TEXT),
        ("held", _BLOCKED),
        ("tags", TaggedFields),
    )


class _Heartbeat(Request[_HeartbeatRequest]):  # type: ignore[misc]
    API_KEY = 68

    def __init__(self, *fields: Any) -> None:
        self._fields = fields

    def build(self, request_struct_class: type[_HeartbeatRequest]) -> _HeartbeatRequest:
        return request_struct_class(*self._fields, {})


class NewMember:
    """Takes what the broker gives it, and reads nothing.

    Attributes:
        held: topic ids and partitions, as the protocol has them.
        has_failed: the broker did not take it.
    """

    def __init__(self, kafka: Kafka, group: str, topic: str) -> None:
        self._kafka = kafka
        self._group = group
        self._topics = [topic]
        self._id, self._epoch = "", 0
        self.held: list[Any] = []
        self.has_failed = False

    async def run(self) -> None:
        node = await self._kafka.coordinator(self._group)
        try:
            while True:
                await self._beat(node)
                await asyncio.sleep(_HEARTBEAT_S)
        except KafkaError:
            self.has_failed = True
            raise

    async def _beat(self, node: int) -> None:
        is_new = not self._epoch
        held: list[Any] = [] if is_new else [(topic, partitions, {}) for topic, partitions, *_ in self.held]
        heartbeat = _Heartbeat(self._group, self._id, self._epoch, None, None, 5_000, self._topics, None, held)
        answer = await self._kafka.admin._send_request(heartbeat, node)
        if answer.error_code in _NOT_YET:
            return
        if answer.error_code:
            raise for_code(answer.error_code)(answer.error_message)
        self._id, self._epoch = answer.member_id, answer.member_epoch
        if answer.given is not None:
            self.held = answer.given

    async def leave(self) -> None:
        node = await self._kafka.coordinator(self._group)
        heartbeat = _Heartbeat(self._group, self._id, _LEAVE, None, None, -1, None, None, None)
        await self._kafka.admin._send_request(heartbeat, node)


@asynccontextmanager
async def new_member(kafka: Kafka, group: str, topic: str) -> AsyncIterator[NewMember]:
    """In the group until the block is left.

    Raises:
        KafkaError: the broker did not take it.
    """
    member = NewMember(kafka, group, topic)
    beating = asyncio.create_task(member.run())
    try:
        yield member
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        await member.leave()
