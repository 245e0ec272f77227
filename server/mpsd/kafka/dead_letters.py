"""The dead-letter topic on a real Kafka: created, checked and written, acknowledged by all in-sync replicas."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from mpsd.core.delivery import Delivery
from mpsd.core.record import Record
from mpsd.core.topic_durability import MIN_IN_SYNC, REPLICATION_MAX, WantedSettings, Weakness, weaknesses
from mpsd.errors import DeadLetterTopicUnsafe, KafkaUnavailable, MpsError
from mpsd.kafka.connection import asking, start
from mpsd.kafka.topic_look import TopicLook, look_at
from mpsd.ports import DeadLetter, DlqPosition

log = logging.getLogger("mpsd.dead_letters")


ADDED_BYTES_MAX = 65_536
"""What a topic that is made takes beyond its sources, so that no dead letter loses its value to the headers added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSettings:
    """Settings of the sink; the configuration has ranges, defaults and reasons.

    Attributes:
        replication_factor: 0: three, or as many as there are brokers.
        retention_s: 0: for ever.
    """

    topic: str
    source_topics: tuple[str, ...]
    retention_s: int
    replication_factor: int
    write_timeout_s: float

    def wanted(self, looks: Mapping[str, TopicLook], brokers: int) -> WantedSettings:
        """Return what the topic should be like, given its source topics and the size of the cluster."""
        return WantedSettings(
            replicas=self.replication_factor or min(REPLICATION_MAX, brokers),
            retention_s=self.retention_s,
            record_bytes_max=max(looks[topic].number("max.message.bytes") or 0 for topic in self.source_topics),
        )


def weaknesses_of(settings: DeadLetterSettings, looks: Mapping[str, TopicLook], brokers: int) -> list[Weakness]:
    """Return the weak settings of an existing dead-letter topic.

    Args:
        looks: of the dead-letter topic and its source topics.
    """
    return weaknesses(looks[settings.topic].settings, settings.wanted(looks, brokers))


class DeadLetterTopic:
    """One dead-letter topic, created and checked whenever a writer connects."""

    def __init__(self, settings: DeadLetterSettings, options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._options = options
        self._said: list[str] = []

    async def prepare(self) -> None:
        """Create the topic, or check the existing one; log its weak settings once.

        Raises:
            DeadLetterTopicUnsafe: it would lose dead letters.
            KafkaRefused: the user may not see or make it.
            KafkaUnavailable: not now, or a source topic does not exist yet: it could be a typing error.
        """
        name = self._settings.topic
        admin = AIOKafkaAdminClient(**self._options)
        with asking(f"prepare dead-letter topic {name}"):
            try:
                async with asyncio.timeout(self._settings.write_timeout_s):
                    await start(admin, self._options)
                    looks = await look_at(admin, [name, *self._settings.source_topics])
                    brokers = len((await admin.describe_cluster())["brokers"])
                    if not looks[name].is_visible:
                        raise TopicAuthorizationFailedError(name)
                    if not looks[name].exists:
                        await self._create(admin, looks, brokers)
                        return
            finally:
                await admin.close()
        self._judge(looks, brokers)

    def _judge(self, looks: Mapping[str, TopicLook], brokers: int) -> None:
        name = self._settings.topic
        weak = weaknesses_of(self._settings, looks, brokers)
        if unsafe := [each.text for each in weak if each.loses]:
            what = "; ".join(unsafe)
            raise DeadLetterTopicUnsafe(f"dead-letter topic {name} would lose dead letters: {what}; alter the topic")
        said = [each.text for each in weak]
        if looks[name].configs is None:
            said.append("its settings are not visible (grant DescribeConfigs)")
        if said and said != self._said:
            extra = {"code": "dead_letter.topic_weak"}
            log.warning("dead-letter topic %s is weak: %s; going on with it", name, "; ".join(said), extra=extra)
        self._said = said

    async def _create(self, admin: Any, looks: Mapping[str, TopicLook], brokers: int) -> None:
        name, sources = self._settings.topic, self._settings.source_topics
        if missing := [topic for topic in sources if looks[topic].is_visible and not looks[topic].exists]:
            raise KafkaUnavailable(
                f"dead-letter topic {name} is not created yet: source topic {', '.join(missing)} does not exist"
            )
        await create(admin, self._settings, looks, brokers)
        log.info("created dead-letter topic %s", name, extra={"code": "dead_letter.topic_created"})


async def create(
    admin: Any,
    settings: DeadLetterSettings,
    looks: Mapping[str, TopicLook],
    brokers: int,
    *,
    only_try: bool = False,
) -> None:
    """Create the topic, with as many partitions as the widest source topic.

    Args:
        only_try: let the broker say whether it would, and change nothing.

    Raises:
        KafkaError: the broker refuses.
    """
    wanted = settings.wanted(looks, brokers)
    configs = {"retention.ms": str(settings.retention_s * 1000 or -1), "cleanup.policy": "delete"}
    if wanted.record_bytes_max:
        configs["max.message.bytes"] = str(wanted.record_bytes_max + ADDED_BYTES_MAX)
    if wanted.replicas >= REPLICATION_MAX:
        configs["min.insync.replicas"] = str(MIN_IN_SYNC)
    topic = NewTopic(
        name=settings.topic,
        num_partitions=max([1, *(looks[topic].partitions for topic in settings.source_topics)]),
        replication_factor=wanted.replicas,
        topic_configs=configs,
    )
    for name, code, *_ in (await admin.create_topics([topic], validate_only=only_try)).topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise for_code(code)(name)


REQUEST_BYTES_MAX = 1 << 30
"""The client's own bound is out of the way: the broker's is the one that counts."""
CLOSE_TIMEOUT_S = 3.0
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class KafkaDeadLetters:
    """`DeadLetterSink` on a real Kafka. Connects when there is something to write.

    The library's idempotent producer tries again for ever. So a dead letter without an answer in time stays with the producer
    that has it, and whoever brings it again waits for the same answer: sent anew, it could be there twice.

    Holds at most: what was brought to `write` and not answered.
    """

    def __init__(self, settings: DeadLetterSettings, options: Mapping[str, Any]) -> None:
        """Begin unconnected.

        Args:
            options: of every client: see `connection.client_options`.
        """
        self._settings = settings
        self._options = options
        self._topic = DeadLetterTopic(settings, options)
        self._producer: Any = None
        self._partitions = 0
        self._writing: dict[Delivery, asyncio.Task[DlqPosition | BaseException]] = {}
        self._unanswered = KafkaUnavailable(f"dead-letter topic {settings.topic} has not acknowledged it yet")

    async def write(self, dead_letters: Sequence[DeadLetter]) -> list[DlqPosition | BaseException]:
        """See `DeadLetterSink`. Cancelled, it may leave dead letters written that are not known to be."""
        try:
            with asking(f"connect to write dead letters to {self._settings.topic}"):
                async with asyncio.timeout(self._settings.write_timeout_s):
                    await self._connect()
        except MpsError as error:
            await self.close()
            return [error] * len(dead_letters)
        for dead_letter in dead_letters:
            if dead_letter.delivery not in self._writing:
                self._writing[dead_letter.delivery] = asyncio.create_task(self._write(dead_letter))
        await asyncio.wait(
            [self._writing[dead_letter.delivery] for dead_letter in dead_letters],
            timeout=self._settings.write_timeout_s,
        )
        answers = [self._answer(dead_letter.delivery) for dead_letter in dead_letters]
        for delivery in [delivery for delivery, task in self._writing.items() if task.done()]:
            del self._writing[delivery]  # those that nobody asks about any more among them
        if any(isinstance(answer, BaseException) and answer is not self._unanswered for answer in answers):
            await (
                self.close()
            )  # a producer that failed may have lost its sequence: the next write begins with a new one
        return answers

    def _answer(self, delivery: Delivery) -> DlqPosition | BaseException:
        task = self._writing[delivery]
        return task.result() if task.done() else self._unanswered

    async def close(self) -> None:
        """See `DeadLetterSink`. What has not been acknowledged is given up, and may be written or not."""
        producer, self._producer = self._producer, None
        unanswered = [task for task in self._writing.values() if not task.done()]
        self._writing.clear()
        for task in unanswered:
            task.cancel()
        if producer is not None:
            with suppress(TimeoutError, KafkaError, OSError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await (_abandon(producer) if unanswered else producer.stop())

    async def prepare(self) -> None:
        """See `DeadLetterSink`."""
        await self._topic.prepare()

    async def _connect(self) -> None:
        if self._producer is not None:
            return
        await self.prepare()
        producer = AIOKafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=True,
            max_request_size=REQUEST_BYTES_MAX,
            request_timeout_ms=int(self._settings.write_timeout_s * 1000),
        )
        self._producer = producer
        await start(producer, self._options)
        self._partitions = len(await producer.partitions_for(self._settings.topic))
        if not self._partitions:
            raise KafkaUnavailable(f"topic {self._settings.topic} has no partitions yet")

    async def _write(self, dead_letter: DeadLetter) -> DlqPosition | BaseException:
        """Write one dead letter; if it is too large for the topic, without excerpt, then without value, but always write it."""
        record = dead_letter.delivery.record
        own = [(name, value) for name, value in record.headers]
        short = [header for header in dead_letter.headers if header[0] != "mps-dlq-excerpt"]
        forms = (
            (record.value, [*own, *dead_letter.headers]),
            (record.value, [*own, *short]),
            (None, [*own, *short, *_omitted(record)]),
            (None, [*short, *_omitted(record)]),
        )
        *longer, last = forms
        for value, headers in longer:
            answer = await self._send(dead_letter, value, headers)
            if not isinstance(getattr(answer, "__cause__", None), TOO_LARGE):
                return answer
        return await self._send(dead_letter, *last)

    async def _send(
        self, dead_letter: DeadLetter, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
    ) -> DlqPosition | BaseException:
        record = dead_letter.delivery.record
        try:
            with asking(f"write to dead-letter topic {self._settings.topic}"):
                written = await (await self._begin(record.key, value, record.partition % self._partitions, headers))
        except MpsError as error:
            return error
        return DlqPosition(self._settings.topic, written.partition, written.offset)

    async def _begin(
        self, key: bytes | None, value: bytes | None, partition: int, headers: Sequence[tuple[str, bytes | None]]
    ) -> Any:
        """Return the future of a dead letter's acknowledgement.

        A record of neither key nor value, which Kafka knows and the library's `send` refuses, goes as a batch.
        """
        now_ms = int(time.time() * 1000)
        if key is None and value is None:
            batch = self._producer.create_batch()
            batch.append(key=None, value=None, timestamp=now_ms, headers=headers)
            return await self._producer.send_batch(batch, self._settings.topic, partition=partition)
        return await self._producer.send(
            self._settings.topic, value, key, partition=partition, timestamp_ms=now_ms, headers=headers
        )


async def _abandon(producer: Any) -> None:
    """Disconnect at once; `stop` would wait for what the broker does not acknowledge, and leave it being sent for ever."""
    producer._closed = True
    await producer._sender.close()
    await producer.client.close()


def _omitted(record: Record) -> list[tuple[str, bytes]]:
    value = record.value or b""
    return [
        ("mps-dlq-value", b"omitted"),
        ("mps-dlq-value-sha256", hashlib.sha256(value).hexdigest().encode()),
        ("mps-dlq-value-bytes", str(len(value)).encode()),
        ("mps-dlq-value-source", f"{record.topic}/{record.partition}@{record.offset}".encode()),
    ]
