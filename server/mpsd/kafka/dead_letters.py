"""Dead letters on a real Kafka: acknowledged by all in-sync replicas, in a topic that is made if it is not there."""

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
    for_code,
)

from mpsd.core.record import Record
from mpsd.errors import KafkaUnavailable, MpsError
from mpsd.kafka.connection import asking
from mpsd.ports import DeadLetter

log = logging.getLogger("mpsd.dead_letters")

REPLICATION_MAX = 3
MIN_IN_SYNC = 2
REQUEST_BYTES_MAX = 1 << 30
"""The client's own bound is out of the way: the broker's is the one that counts."""
CLOSE_TIMEOUT_S = 3.0
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSettings:
    """What the sink needs to know; ranges, defaults and reasons are the configuration's.

    Attributes:
        partitions: of the topic, where it must be made: as many as the widest source topic.
        replication_factor: 0: three, or as many as there are brokers.
        retention_s: 0: for ever.
    """

    topic: str
    source_topics: tuple[str, ...]
    retention_s: int
    replication_factor: int
    write_timeout_s: float


class KafkaDeadLetters:
    """`DeadLetterSink` on a real Kafka. Connects when there is something to write."""

    def __init__(self, settings: DeadLetterSettings, options: Mapping[str, Any]) -> None:
        """Begin unconnected.

        Args:
            options: of every client: see `connection.client_options`.
        """
        self._settings = settings
        self._options = options
        self._producer: Any = None
        self._partitions = 0

    async def write(self, letters: Sequence[DeadLetter]) -> list[BaseException | None]:
        """See `DeadLetterSink`. Cancelled, it may leave letters written that are not known to be."""
        try:
            with asking(f"connect to write dead letters to {self._settings.topic}"):
                async with asyncio.timeout(self._settings.write_timeout_s):
                    await self._connect()
        except MpsError as error:
            await self.close()
            return [error] * len(letters)
        errors = await asyncio.gather(*(self._write(letter) for letter in letters))
        if any(errors):
            await (
                self.close()
            )  # a producer that failed may have lost its sequence: the next write begins with a new one
        return list(errors)

    async def close(self) -> None:
        """See `DeadLetterSink`."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(TimeoutError, KafkaError, OSError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await producer.stop()

    async def prepare(self) -> None:
        """See `DeadLetterSink`."""
        admin = AIOKafkaAdminClient(**self._options)
        with asking(f"create dead-letter topic {self._settings.topic}"):
            try:
                async with asyncio.timeout(self._settings.write_timeout_s):
                    await admin.start()
                    if self._settings.topic not in await admin.list_topics():
                        await self._create(admin)
            finally:
                await admin.close()

    async def _create(self, admin: Any) -> None:
        settings = self._settings
        described = await admin.describe_topics(list(settings.source_topics))
        brokers = len((await admin.describe_cluster())["brokers"])
        replicas = settings.replication_factor or min(REPLICATION_MAX, brokers)
        configs = {"retention.ms": str(settings.retention_s * 1000 or -1), "cleanup.policy": "delete"}
        if replicas >= REPLICATION_MAX:
            configs["min.insync.replicas"] = str(MIN_IN_SYNC)
        topic = NewTopic(
            name=settings.topic,
            num_partitions=max([1, *(len(topic["partitions"]) for topic in described)]),
            replication_factor=replicas,
            topic_configs=configs,
        )
        for name, code, *_ in (await admin.create_topics([topic])).topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(name)
        log.info("created dead-letter topic %s", settings.topic, extra={"code": "dead_letter.topic_created"})

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
        await producer.start()
        self._partitions = len(await producer.partitions_for(self._settings.topic))
        if not self._partitions:
            raise KafkaUnavailable(f"topic {self._settings.topic} has no partitions yet")

    async def _write(self, letter: DeadLetter) -> BaseException | None:
        """One letter; too large for the topic, it goes without excerpt, then without value, never nowhere."""
        record = letter.delivery.record
        own = [(name, value) for name, value in record.headers]
        short = [header for header in letter.headers if header[0] != "mps-dlq-excerpt"]
        forms = (
            (record.value, [*own, *letter.headers]),
            (record.value, [*own, *short]),
            (None, [*own, *short, *_omitted(record)]),
            (None, [*short, *_omitted(record)]),
        )
        error: BaseException | None = None
        for value, headers in forms:
            error = await self._send(letter, value, headers)
            if not isinstance(getattr(error, "__cause__", None), TOO_LARGE):
                return error
        return error

    async def _send(
        self, letter: DeadLetter, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
    ) -> BaseException | None:
        record = letter.delivery.record
        try:
            with asking(f"write to dead-letter topic {self._settings.topic}"):
                async with asyncio.timeout(self._settings.write_timeout_s * 2):
                    await self._producer.send_and_wait(
                        self._settings.topic,
                        value,
                        record.key,
                        partition=record.partition % self._partitions,
                        timestamp_ms=int(time.time() * 1000),
                        headers=headers,
                    )
        except MpsError as error:
            return error
        return None


def _omitted(record: Record) -> list[tuple[str, bytes]]:
    value = record.value or b""
    return [
        ("mps-dlq-value", b"omitted"),
        ("mps-dlq-value-sha256", hashlib.sha256(value).hexdigest().encode()),
        ("mps-dlq-value-bytes", str(len(value)).encode()),
        ("mps-dlq-value-source", f"{record.topic}/{record.partition}@{record.offset}".encode()),
    ]
