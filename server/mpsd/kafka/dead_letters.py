"""The dead-letter topic on a real Kafka: created, checked and written, acknowledged by all in-sync replicas."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError, TopicAuthorizationFailedError

from mpsd.config import Subscription
from mpsd.core.delivery import Delivery
from mpsd.core.record import Record
from mpsd.core.topic_durability import MIN_IN_SYNC, REPLICATION_MAX, WantedSettings, Weakness, weaknesses
from mpsd.errors import DeadLetterTopicUnsafe, KafkaUnavailable, MpsError
from mpsd.kafka.connection import Options, admin_client, asking, asking_within
from mpsd.kafka.internal_topics import create_topic
from mpsd.kafka.producer import AckedProducer, send
from mpsd.kafka.topic_look import TopicLook, look_at
from mpsd.ports import DeadLetter, DlqPosition

log = logging.getLogger("mpsd.dead_letters")


ADDED_BYTES_MAX = 65_536
"""Bytes that a new topic takes beyond its sources, so that no dead letter loses its value to the headers added."""


def wanted_settings(subscription: Subscription, looks: Mapping[str, TopicLook], brokers: int) -> WantedSettings:
    """Return what the dead-letter topic should be like, given its source topics and the size of the cluster."""
    return WantedSettings(
        replicas=subscription.dead_letter.replication_factor or min(REPLICATION_MAX, brokers),
        retention_s=subscription.dead_letter.retention_s,
        record_bytes_max=max(looks[topic].number("max.message.bytes") or 0 for topic in subscription.topics),
    )


def weaknesses_of(subscription: Subscription, looks: Mapping[str, TopicLook], brokers: int) -> list[Weakness]:
    """Return the weak settings of an existing dead-letter topic.

    Args:
        looks: of the dead-letter topic and its source topics.
    """
    return weaknesses(looks[subscription.dead_letter.topic].settings, wanted_settings(subscription, looks, brokers))


async def create(
    admin: Any,
    subscription: Subscription,
    looks: Mapping[str, TopicLook],
    brokers: int,
    *,
    only_try: bool = False,
) -> None:
    """Create the dead-letter topic, with as many partitions as the widest source topic.

    Args:
        only_try: let the broker say whether it would, and change nothing.

    Raises:
        KafkaError: the broker refuses.
    """
    wanted = wanted_settings(subscription, looks, brokers)
    configs = {"retention.ms": str(wanted.retention_s * 1000 or -1), "cleanup.policy": "delete"}
    if wanted.record_bytes_max:
        configs["max.message.bytes"] = str(wanted.record_bytes_max + ADDED_BYTES_MAX)
    if wanted.replicas >= REPLICATION_MAX:
        configs["min.insync.replicas"] = str(MIN_IN_SYNC)
    partitions = max([1, *(looks[topic].partitions for topic in subscription.topics)])
    await create_topic(admin, subscription.dead_letter.topic, partitions, wanted.replicas, configs, only_try=only_try)


TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class KafkaDeadLetters:
    """`DeadLetterSink` on a real Kafka. Connects when there is something to write.

    The library's idempotent producer tries again for ever. So a dead letter without an answer in time stays with the producer
    that has it, and whoever brings it again waits for the same answer: sent anew, it could be there twice.

    Holds at most: what was brought to `write` and not answered.
    """

    def __init__(self, subscription: Subscription, options: Options) -> None:
        self._subscription = subscription
        self._topic, self._timeout_s = subscription.dead_letter.topic, subscription.dead_letter.write_timeout_s
        self._options = options
        self._connection = AckedProducer(self._timeout_s, options)
        self._producer: Any = None
        self._partitions = 0
        self._last_weak: list[str] = []
        self._writing: dict[Delivery, asyncio.Task[DlqPosition | BaseException]] = {}
        self._unanswered = KafkaUnavailable(f"dead-letter topic {self._topic} has not acknowledged it yet")

    async def write(self, dead_letters: Sequence[DeadLetter]) -> list[DlqPosition | BaseException]:
        """See `DeadLetterSink`. Cancelled, it may leave dead letters written that are not known to be."""
        try:
            async with asking_within(f"connect to write dead letters to {self._topic}", self._timeout_s):
                await self._connect()
        except MpsError as error:
            await self.close()
            return [error] * len(dead_letters)
        for dead_letter in dead_letters:
            if dead_letter.delivery not in self._writing:
                self._writing[dead_letter.delivery] = asyncio.create_task(self._write(dead_letter))
        await asyncio.wait(
            [self._writing[dead_letter.delivery] for dead_letter in dead_letters],
            timeout=self._timeout_s,
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
        for task in self._writing.values():
            task.cancel()
        self._writing.clear()
        self._producer = None
        await self._connection.close()

    async def prepare(self) -> None:
        """Create the topic, or check the existing one; log its weak settings once.

        Raises:
            DeadLetterTopicUnsafe: it would lose dead letters.
            KafkaRefused: the user may not see or make it.
            KafkaUnavailable: not now, or a source topic does not exist yet: it could be a typing error.
        """
        name, sources = self._topic, self._subscription.topics
        with asking(f"prepare dead-letter topic {name}"):
            async with admin_client(self._options, self._timeout_s) as admin:
                looks = await look_at(admin, [name, *sources])
                brokers = len((await admin.describe_cluster())["brokers"])
                if not looks[name].is_visible:
                    raise TopicAuthorizationFailedError(name)
                if not looks[name].exists:
                    await self._create(admin, looks, brokers)
                    return
        self._judge(looks, brokers)

    async def _create(self, admin: Any, looks: Mapping[str, TopicLook], brokers: int) -> None:
        sources = self._subscription.topics
        if missing := [topic for topic in sources if looks[topic].is_visible and not looks[topic].exists]:
            raise KafkaUnavailable(
                f"dead-letter topic {self._topic} is not created yet: source topic {', '.join(missing)} does not exist"
            )
        await create(admin, self._subscription, looks, brokers)
        log.info("created dead-letter topic %s", self._topic, extra={"code": "dead_letter.topic_created"})

    def _judge(self, looks: Mapping[str, TopicLook], brokers: int) -> None:
        name = self._topic
        found = weaknesses_of(self._subscription, looks, brokers)
        if unsafe := [each.text for each in found if each.loses]:
            what = "; ".join(unsafe)
            raise DeadLetterTopicUnsafe(f"dead-letter topic {name} would lose dead letters: {what}; alter the topic")
        weak = [each.text for each in found]
        if looks[name].configs is None:
            weak.append("its settings are not visible (grant DescribeConfigs)")
        if weak and weak != self._last_weak:
            extra = {"code": "dead_letter.topic_weak"}
            log.warning("dead-letter topic %s is weak: %s; going on with it", name, "; ".join(weak), extra=extra)
        self._last_weak = weak

    async def _connect(self) -> None:
        if self._producer is not None:
            return
        await self.prepare()
        producer = await self._connection.connected()
        self._partitions = len(await producer.partitions_for(self._topic))
        if not self._partitions:
            raise KafkaUnavailable(f"topic {self._topic} has no partitions yet")
        self._producer = producer

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
        key, partition = dead_letter.delivery.record.key, dead_letter.delivery.record.partition % self._partitions
        try:
            with asking(f"write to dead-letter topic {self._topic}"):
                now_ms = int(time.time() * 1000)
                sent = await send(self._producer, self._topic, partition, key, value, headers, now_ms)
                written = await sent
        except MpsError as error:
            return error
        return DlqPosition(self._topic, written.partition, written.offset)


def _omitted(record: Record) -> list[tuple[str, bytes]]:
    value = record.value or b""
    return [
        ("mps-dlq-value", b"omitted"),
        ("mps-dlq-value-sha256", hashlib.sha256(value).hexdigest().encode()),
        ("mps-dlq-value-bytes", str(len(value)).encode()),
        ("mps-dlq-value-source", f"{record.topic}/{record.partition}@{record.offset}".encode()),
    ]
