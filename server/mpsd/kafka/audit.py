"""The history of changes on a real Kafka: a topic of one partition, kept for a time, read from its end."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from mpsd.config import Control
from mpsd.core.audit import AuditEntry, audit_value, parse_audit
from mpsd.errors import ControlUnavailable, KafkaRefused, KafkaUnavailable
from mpsd.kafka.connection import Options, admin_client, asking, existing_topics
from mpsd.kafka.consumer import stop
from mpsd.kafka.internal_topics import audit_topic
from mpsd.kafka.producer import AckedProducer
from mpsd.ports import AuditPage, ControlRecord

RECORDS_PER_STEP = 500
STEPS_PER_PAGE_MAX = 20
"""A page of a subscription that changed seldom may be short, so that nobody waits for a long history to be read."""
FETCH_WAIT_MS = 200


class KafkaAudit:
    """`AuditLog` on a real Kafka. Connects when there is something to write or to read.

    Holds at most: one step of what is read.
    """

    def __init__(self, control: Control, options: Options) -> None:
        self._topic = audit_topic(control)
        self._timeout_s = control.write_timeout_s
        self._options = options
        self._key = TopicPartition(control.audit_topic, 0)
        self._producer = AckedProducer(control.write_timeout_s, options)
        self._is_there = False

    async def append(self, entry: AuditEntry) -> None:
        """See `AuditLog`."""
        if not self._is_there:
            await self._ensure_topic()
        await self._producer.write(self._topic.name, [ControlRecord(None, audit_value(entry))])

    async def close(self) -> None:
        """See `AuditLog`."""
        await self._producer.close()

    async def page(self, before: int | None, entries_max: int, subscription: str, since_ms: int) -> AuditPage:
        """See `AuditLog`."""
        try:
            with asking(f"read {self._topic.name}"):
                async with asyncio.timeout(self._timeout_s), AsyncExitStack() as stack:
                    if not await self._exists():
                        return AuditPage((), None)
                    consumer = AIOKafkaConsumer(
                        **self._options,
                        enable_auto_commit=False,
                        auto_offset_reset="none",
                        fetch_max_wait_ms=FETCH_WAIT_MS,
                    )
                    stack.push_async_callback(stop, consumer)
                    await consumer.start()
                    consumer.assign([self._key])
                    return await self._page(consumer, before, entries_max, subscription, since_ms)
        except (KafkaUnavailable, KafkaRefused) as error:
            raise ControlUnavailable(str(error)) from error

    async def _page(
        self, consumer: Any, before: int | None, entries_max: int, subscription: str, since_ms: int
    ) -> AuditPage:
        begin = (await consumer.beginning_offsets([self._key]))[self._key]
        end = (await consumer.end_offsets([self._key]))[self._key]
        stop_at = end if before is None else min(before, end)
        entries: list[AuditEntry] = []
        for _ in range(STEPS_PER_PAGE_MAX):
            if stop_at <= begin:
                return AuditPage(entries, None)
            start_at = max(begin, stop_at - RECORDS_PER_STEP)
            for offset, value, timestamp_ms in reversed(await self._read(consumer, start_at, stop_at)):
                if timestamp_ms < since_ms:
                    return AuditPage(entries, None)
                entry = parse_audit(value)
                if entry is not None and subscription in {"", entry.subscription}:
                    entries.append(entry)
                    if len(entries) >= entries_max:
                        return AuditPage(entries, offset if offset > begin else None)
            stop_at = start_at
        return AuditPage(entries, stop_at if stop_at > begin else None)

    async def _read(self, consumer: Any, start_at: int, stop_at: int) -> list[tuple[int, bytes | None, int]]:
        consumer.seek(self._key, start_at)
        found: list[tuple[int, bytes | None, int]] = []
        while await consumer.position(self._key) < stop_at:
            got = await consumer.getmany(self._key, timeout_ms=FETCH_WAIT_MS, max_records=RECORDS_PER_STEP)
            found += [(r.offset, r.value, r.timestamp) for r in got.get(self._key, ()) if r.offset < stop_at]
        return found

    async def _exists(self) -> bool:
        async with admin_client(self._options, self._timeout_s) as admin:
            return bool(await existing_topics(admin, [self._topic.name]))

    async def _ensure_topic(self) -> None:
        try:
            with asking(f"create audit topic {self._topic.name}"):
                async with admin_client(self._options, self._timeout_s) as admin:
                    await self._topic.ensure(admin)
                    self._is_there = True
        except (KafkaUnavailable, KafkaRefused) as error:
            raise ControlUnavailable(str(error)) from error
