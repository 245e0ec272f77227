"""Dead-letter topics read back: one for replays and operators, the ends of all for metrics."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import OffsetOutOfRangeError

from mpsd.core.offset_tracker import next_offset_after
from mpsd.core.record import LogBounds, LogPart, Record
from mpsd.errors import DeadLetterTopicGone
from mpsd.kafka.connection import Options, admin_client, asking, asking_within, existing_topics, start
from mpsd.kafka.consumer import stop
from mpsd.kafka.protocol import NO_ID, Metadata
from mpsd.kafka.topic_look import topic_ids

CONNECT_TIMEOUT_S = 15.0
REQUEST_TIMEOUT_MS = 10_000
WAIT_MS = 500
"""Time that a fetch waits for records that the log should have."""
FETCH_BYTES_MAX = 1 << 18
"""Some 500 dead letters of small records; a record that is larger is fetched all the same, alone."""
STOP_TIMEOUT_S = 3.0


class KafkaDeadLetterLog:
    """A dead-letter topic of a real Kafka. Connects when there is something to read, outside of any group.

    Every call fails with DeadLetterTopicGone, KafkaUnavailable or KafkaRefused within a bound.

    Several may read at a time; they take turns, a fetch each.

    Holds at most: one fetch, of `FETCH_BYTES_MAX`, for whoever reads on where the last one has stopped.

    Attributes:
        topic_id: of the topic that answered last, in hexadecimal digits; empty where the broker knows none.
    """

    def __init__(self, topic: str, options: Options) -> None:
        self._topic = topic
        self._options = options
        self._consumer: Any = None
        self._assigned: ClientPartition | None = None
        self._left: deque[Record] = deque()
        self._place: tuple[int, int] | None = None
        self._position = 0
        self._lock = asyncio.Lock()
        self.topic_id = ""

    async def bounds(self) -> dict[int, LogBounds]:
        """Return first and end offset of every partition as they are now."""
        async with self._lock, self._asking("look up where {} begins and ends"):
            return await self._bounds()

    async def fetch(self, partition: int, offset: int, records_max: int) -> LogPart:
        """Return records from an offset on; none, and the same offset again, if none came within `WAIT_MS`."""
        async with self._lock, self._asking("read {}"):
            if self._place != (partition, offset) or not self._left:
                self._left.clear()
                await self._fill(partition, offset)
                if self._position == offset:
                    return await self._out_of_range(partition, offset)
            records = [self._left.popleft() for _ in range(min(records_max, len(self._left)))]
            next_offset = next_offset_after(records[-1].offset) if self._left else self._position
            self._place = partition, next_offset
            return LogPart(records, next_offset)

    async def _fill(self, partition: int, offset: int) -> None:
        """Read one whole fetch, and none ahead.

        What the library has fetched and nobody has read to its end is held by a cycle of references, and so remains
        until the collector comes by, which in this daemon is seldom. So it is read to its end at once.
        """
        key = ClientPartition(self._topic, partition)
        consumer = await self._connected()
        if self._assigned != key:
            consumer.assign([key])
            self._assigned = key
        consumer.seek(key, offset)  # without a wait between, or the library looks for a position itself
        consumer.resume(key)
        try:
            got = await consumer.getmany(key, timeout_ms=WAIT_MS)
            consumer.pause(key)  # before anything else runs, as the next fetch would be sent then
            self._left.extend(record for record in got.get(key, []) if record.offset >= offset)
            self._position = max(offset, await consumer.position(key))
        except OffsetOutOfRangeError:
            self._position = offset
        await self._identify(consumer)

    async def _identify(self, consumer: Any) -> None:
        """Note the topic's id behind every answer, which proves that the answer is of this topic."""
        if topic_id := (await topic_ids(consumer, [self._topic])).get(self._topic):
            self.topic_id = topic_id.hex()

    async def close(self) -> None:
        """Disconnect; the next call connects again."""
        consumer, self._consumer, self._assigned, self._place = self._consumer, None, None, None
        self._left.clear()
        if consumer is not None:
            await stop(consumer, STOP_TIMEOUT_S)

    @asynccontextmanager
    async def _asking(self, what: str) -> AsyncIterator[None]:
        """Map errors, and close a consumer that failed."""
        with asking(what.format(f"dead-letter topic {self._topic}")):
            try:
                yield
            except BaseException:
                await self.close()
                raise

    async def _connected(self) -> Any:
        if self._consumer is None:
            await self._must_exist()  # a consumer that asks for a topic that is not there may create it
            self._consumer = AIOKafkaConsumer(
                **self._options,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                fetch_max_bytes=FETCH_BYTES_MAX,
                max_partition_fetch_bytes=FETCH_BYTES_MAX,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
            )
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await start(self._consumer, self._options)
        return self._consumer

    async def _must_exist(self) -> int:
        """Return the number of partitions.

        Raises:
            DeadLetterTopicGone: it is not there.
        """
        async with admin_client(self._options, CONNECT_TIMEOUT_S, request_timeout_ms=REQUEST_TIMEOUT_MS) as admin:
            if not await existing_topics(admin, [self._topic]):
                raise DeadLetterTopicGone(f"dead-letter topic {self._topic} is not there")
            (described,) = await admin.describe_topics([self._topic])
        return len(described["partitions"])

    async def _bounds(self) -> dict[int, LogBounds]:
        keys = [ClientPartition(self._topic, partition) for partition in range(await self._must_exist())]
        consumer = await self._connected()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            starts = await consumer.beginning_offsets(keys)
            ends = await consumer.end_offsets(keys)
        await self._identify(consumer)
        return {key.partition: LogBounds(starts[key], ends[key]) for key in keys}

    async def _out_of_range(self, partition: int, offset: int) -> LogPart:
        """Return where to go on after an empty answer: retention took the records, the log ends earlier, or the topic is gone."""
        bounds = (await self._bounds()).get(partition)
        if bounds is None or offset > bounds.end:
            raise DeadLetterTopicGone(
                f"dead-letter topic {self._topic} ends before {partition}@{offset}: it was deleted and recreated"
            )
        return LogPart((), max(offset, bounds.start))


ENDS_TIMEOUT_S = 10.0


class TopicEnds(NamedTuple):
    """The ends of a topic.

    Attributes:
        id: empty where the broker does not know any.
        bounds: of its partitions, by number.
    """

    id: str
    bounds: Mapping[int, LogBounds]


class DeadLetterEnds:
    """A look-up of topics that exist, without creating any by asking.

    Holds at most: one client, which is not used again once it failed.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._consumer: Any = None

    async def look(self, topics: Collection[str]) -> dict[str, TopicEnds]:
        """Return those of the topics that exist.

        Raises:
            KafkaUnavailable, KafkaRefused: they could not be looked up.
        """
        try:
            async with asking_within("look up how many dead letters there are", ENDS_TIMEOUT_S):
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
