"""Kafka for tests: records of any shape, topics of any setting."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from mpsd.core.record import TopicPartition
from mpsd.demo.guarantees.events import SeenRecord
from mpsd.errors import KafkaUnavailable
from mpsd.kafka.topics import Topics
from tests.integration.world.patience import until

_TOPIC, _GROUP, _LITERAL, _ALLOW, _ANY = 2, 3, 3, 3, 1
_OPERATIONS = {"read": 3, "write": 4, "create": 5, "describe": 8, "describeconfigs": 10}
"""Numbers of Kafka's protocol, for access control lists."""


class Message(NamedTuple):
    """A record to be.

    Attributes:
        partition: None: by its key.
        timestamp_ms: None: now.
    """

    key: bytes | None = None
    value: bytes | None = b""
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None
    timestamp_ms: int | None = None


class Kafka:
    """One cluster, by a listener in plain text that may do anything. Use it with `async with`."""

    def __init__(self, bootstrap_servers: Sequence[str]) -> None:
        self.bootstrap_servers = list(bootstrap_servers)
        self.topics = Topics(self.bootstrap_servers)
        self.admin: Any = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)

    async def __aenter__(self) -> Self:
        await self.topics.__aenter__()
        await self.admin.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.admin.close()
        await self.topics.__aexit__(None, None, None)

    async def create_topic(self, topic: str, partitions: int, nodes: Sequence[int], configs: Mapping[str, str]) -> None:
        """With replicas on these nodes, or one anywhere."""
        if nodes:
            new = NewTopic(topic, -1, -1, {number: list(nodes) for number in range(partitions)}, configs)
        else:
            new = NewTopic(topic, partitions, 1, topic_configs=configs)
        for _, code, *_ in (await self.admin.create_topics([new])).topic_errors:
            if code:
                raise for_code(code)(topic)

    async def add_partitions(self, topic: str, total: int) -> None:
        await self.admin.create_partitions({topic: NewPartitions(total)})

    async def alter_topic(self, topic: str, configs: dict[str, str]) -> None:
        await self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])

    async def produce(self, topic: str, messages: Iterable[Message], **options: Any) -> list[SeenRecord]:
        """Acknowledged by all in-sync replicas; in the order of the messages."""
        producer = self.producer(**options)
        await producer.start()
        try:
            return await send(producer, topic, messages)
        finally:
            await producer.stop()

    def producer(self, **options: Any) -> Any:
        given = {"acks": "all", "max_request_size": 8 << 20, "linger_ms": 5, **options}
        return AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers, **given)

    async def allow(self, user: str, operations: Sequence[str], *, topic: str = "", group: str = "") -> None:
        """Let a user do this with one topic or group."""
        kind, name = (_TOPIC, topic) if topic else (_GROUP, group)
        for operation in operations:
            acl = CreateAclsRequest(kind, name, _LITERAL, f"User:{user}", "*", _OPERATIONS[operation], _ALLOW)
            for code, *_ in (await self.admin._send_to_controller(acl)).creation_responses:
                if code:
                    raise for_code(code)(name)

    async def forbid(self, user: str, *, topic: str = "", group: str = "") -> None:
        """Take back all that `allow` gave."""
        kind, name = (_TOPIC, topic) if topic else (_GROUP, group)
        given = DeleteAclsRequest(kind, name, _LITERAL, f"User:{user}", "*", _ANY, _ALLOW)
        for code, *_ in (await self.admin._send_to_controller(given)).filter_responses:
            if code:
                raise for_code(code)(name)

    async def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        await self.admin.delete_records({ClientPartition(topic, partition): RecordsToDelete(before_offset)})

    async def coordinator(self, group: str) -> int:
        """Return the node that coordinates the group, or will."""
        node = 0

        async def is_known() -> bool:
            nonlocal node
            with suppress(KafkaError):  # the first group of a cluster waits until the coordinators' topic is made
                node = await self.admin.find_coordinator(group)
            return bool(node)

        await until(is_known, f"{group} has a coordinator")
        return node

    async def committed(self, group: str) -> dict[TopicPartition, int]:
        """Empty before the group's first commit, when it has no coordinator yet."""
        with suppress(KafkaUnavailable):
            return await self.topics.committed(group)
        return {}


async def send(producer: Any, topic: str, messages: Iterable[Message]) -> list[SeenRecord]:
    """With a producer that is started."""
    messages = [_timed(message) for message in messages]
    sent = [await _begin(producer, topic, message) for message in messages]
    records = []
    for message, future in zip(messages, sent, strict=True):
        written = await future
        records.append(
            SeenRecord(
                topic,
                written.partition,
                written.offset,
                message.key,
                message.timestamp_ms or 0,
                message.value,
                list(message.headers),
            )
        )
    return records


def _timed(message: Message) -> Message:
    return message if message.timestamp_ms is not None else message._replace(timestamp_ms=int(time.time() * 1000))


async def _begin(producer: Any, topic: str, message: Message) -> Any:
    if message.key is None and message.value is None:  # which Kafka knows, and the library's `send` refuses
        batch = producer.create_batch()
        batch.append(key=None, value=None, timestamp=message.timestamp_ms, headers=list(message.headers))
        return await producer.send_batch(batch, topic, partition=message.partition or 0)
    return await producer.send(
        topic,
        message.value,
        message.key,
        partition=message.partition,
        timestamp_ms=message.timestamp_ms,
        headers=list(message.headers),
    )
