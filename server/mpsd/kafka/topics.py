"""Topics as an operator handles them: made, filled, read as a whole, their offsets looked up.

No record on its way to an application comes through here; the demo and the tests do.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code
from typing_extensions import override

from mpsd.core.record import Record, TopicPartition
from mpsd.kafka.connection import asking_within

_REQUEST_S = 15.0
_TRANSFER_S = 300.0
_READ_WAIT_MS = 200
_REPLICATION_MAX = 3


class Message(NamedTuple):
    """A record to be."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class Written(NamedTuple):
    """The position of a message that was written."""

    partition: int
    offset: int


class Topics:
    """The topics of one cluster, reached in plain text. Use it with `async with`.

    Every call has a time limit and fails with KafkaUnavailable; a cancelled one leaves nothing behind but what the
    broker had done already.
    """

    def __init__(self, bootstrap_servers: Sequence[str]) -> None:
        self._bootstrap_servers = list(bootstrap_servers)
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)

    @override
    def __repr__(self) -> str:
        return f"<Topics of {','.join(self._bootstrap_servers)}>"

    async def __aenter__(self) -> Self:
        try:
            async with asking_within("connect", _REQUEST_S):
                await self._admin.start()
        except BaseException:
            await self._admin.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._admin.close()

    async def create(self, topic: str, partitions: int) -> None:
        """Create a topic, replicated up to three times."""
        async with asking_within(f"create topic {topic}", _REQUEST_S):
            brokers = len((await self._admin.describe_cluster())["brokers"])
            new = NewTopic(name=topic, num_partitions=partitions, replication_factor=min(_REPLICATION_MAX, brokers))
            _raise_first((await self._admin.create_topics([new])).topic_errors)

    async def delete(self, topics: Sequence[str]) -> None:
        """Remove topics and all that is in them."""
        async with asking_within(f"delete topics {', '.join(topics)}", _REQUEST_S):
            _raise_first((await self._admin.delete_topics(list(topics))).topic_error_codes)

    async def exists(self, topic: str) -> bool:
        """Return True if the cluster has the topic now."""
        async with asking_within("list topics", _REQUEST_S):
            return topic in await self._admin.list_topics()

    async def committed(self, group: str) -> dict[TopicPartition, int]:
        """Return the group's committed offsets by partition, without partitions that have no commit."""
        async with asking_within(f"look up the offsets of group {group}", _REQUEST_S):
            answer = await self._admin.list_consumer_group_offsets(group)
        return {TopicPartition(tp.topic, tp.partition): offset for tp, (offset, _) in answer.items() if offset >= 0}

    async def log_end(self, topic: str) -> dict[TopicPartition, int]:
        """Return the end of each partition, the offset that its next record will have."""
        async with self._consumer() as consumer, asking_within(f"look up the end of {topic}", _REQUEST_S):
            ends = await consumer.end_offsets(await self._partitions(topic))
        return {TopicPartition(tp.topic, tp.partition): offset for tp, offset in ends.items()}

    async def read_all(self, topic: str) -> list[Record]:
        """Every record that the topic has now, in memory at once; of each partition in offset order."""
        records: list[Record] = []
        async with self._consumer() as consumer, asking_within(f"read {topic}", _TRANSFER_S):
            tps = await self._partitions(topic)
            ends = await consumer.end_offsets(tps)
            consumer.assign(tps)
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                fetched = await consumer.getmany(timeout_ms=_READ_WAIT_MS)
                records.extend(record for batch in fetched.values() for record in batch)
        return records

    async def produce(self, topic: str, messages: Iterable[Message]) -> list[Written]:
        """Write messages in their order; returns where, once all in-sync replicas have all of them."""
        async with self._producer() as producer, asking_within(f"produce to {topic}", _TRANSFER_S):
            sent = [
                await producer.send(topic, key=message.key, value=message.value, headers=list(message.headers))
                for message in messages
            ]
            return [Written(answer.partition, answer.offset) for answer in await asyncio.gather(*sent)]

    @asynccontextmanager
    async def producing(self, topic: str) -> AsyncIterator[Callable[[Message], Awaitable[None]]]:
        """Write messages as they come; leaving waits until all in-sync replicas have all of them."""
        async with self._producer() as producer:

            async def send(message: Message) -> None:
                async with asking_within(f"produce to {topic}", _REQUEST_S):
                    await producer.send(topic, key=message.key, value=message.value, headers=list(message.headers))

            yield send

    async def _partitions(self, topic: str) -> list[aiokafka.TopicPartition]:
        (described,) = await self._admin.describe_topics([topic])
        _raise_first([(topic, described["error_code"])])
        return [aiokafka.TopicPartition(topic, partition["partition"]) for partition in described["partitions"]]

    @asynccontextmanager
    async def _producer(self) -> AsyncIterator[Any]:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers, acks="all", enable_idempotence=True
        )
        try:
            async with asking_within("connect", _REQUEST_S):
                await producer.start()
            yield producer
        finally:
            await producer.stop()

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[Any]:
        # "earliest", because `seek_to_beginning` behind `assign` can lose against the reset that `assign` starts.
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        try:
            async with asking_within("connect", _REQUEST_S):
                await consumer.start()
            yield consumer
        finally:
            await consumer.stop()


def _raise_first(answers: Iterable[tuple[Any, ...]]) -> None:
    for topic, code, *_ in answers:
        if code:
            raise for_code(code)(topic)
