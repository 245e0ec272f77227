"""The control topic: one partition, compacted, read from its beginning by every daemon and followed ever after."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from mpsd.config import Control
from mpsd.errors import ControlUnavailable, KafkaRefused, KafkaUnavailable, MpsError
from mpsd.kafka.connection import Options, admin_client, asking, asking_within, start
from mpsd.kafka.consumer import stop
from mpsd.kafka.internal_topics import control_topic
from mpsd.kafka.producer import AckedProducer
from mpsd.kafka.topic_look import topic_ids
from mpsd.ports import ControlListener, ControlRecord

log = logging.getLogger("mpsd.control")

CONNECT_TIMEOUT_S = 15.0
REQUEST_TIMEOUT_MS = 3_000
"""A broker that accepts and never answers is given up soon for the next; partitions that were assigned wait for it."""
REST_MIN_S, REST_MAX_S = 0.2, 5.0
LOOK_INTERVAL_S = 1.0
"""Time after which a topic that is another one, or cannot be reached, is noticed."""
MISSED_MAX = 2
"""So many brokers in a row do not know it, and it is gone; one alone may have learnt too little yet."""
FETCH_WAIT_MS = 500
RECORDS_PER_TURN_MAX = 500
MARKER_WAIT_S = 0.02
"""Interval at which the end of the log is looked at for a transaction's marker, which nobody hands out."""
BEGIN = ControlRecord(b'["","begin"]', b'{"version":1}')
"""The first record of the topic is nobody's, as a revision of 0 stands for an entity that there is not."""


@dataclass(slots=True)
class _Clients:
    """`tail` follows; `looker` asks where the log ends, on a connection where no long fetch is in front of it."""

    tail: Any
    looker: Any
    topic_id: bytes


class KafkaControlLog:
    """`ControlLog` on a real Kafka.

    Takes: records to write.
    Gives: every record of the topic, in order, those of others among them.
    Holds at most: one fetch, and what is being written.

    Attributes:
        position: offset behind the last record handed on.
    """

    def __init__(self, control: Control, options: Options) -> None:
        self._topic = control_topic(control)
        self._timeout_s = control.write_timeout_s
        self._options = options
        self._key = TopicPartition(control.topic, 0)
        self._producer = AckedProducer(control.write_timeout_s, options)
        self._task: asyncio.Task[None] | None = None
        self._clients: _Clients | None = None
        self._progress = asyncio.Event()
        self._waiting = f"connecting to Kafka to follow control topic {control.topic}"
        self._topic_id = b""
        self.position = -1

    async def start(self, listener: ControlListener) -> None:
        """See `ControlLog`."""
        self._listener = listener
        self._task = asyncio.create_task(self._run(), name="control log")

    async def close(self) -> None:
        """See `ControlLog`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._producer.close()

    def waiting_for(self) -> str:
        """See `ControlLog`."""
        return self._waiting

    async def write(self, items: Sequence[ControlRecord]) -> int:
        """See `ControlLog`."""
        return await self._producer.write(self._topic.name, items)

    async def read_to_end(self) -> int:
        """See `ControlLog`."""
        try:
            async with asking_within(f"read {self._topic.name} to its end", self._timeout_s):
                return await self._read_to_end()
        except (KafkaUnavailable, KafkaRefused) as error:
            raise ControlUnavailable(self.waiting_for() or str(error)) from error

    async def _read_to_end(self) -> int:
        while True:
            clients = self._clients
            if clients is not None:
                end = (await clients.looker.end_offsets([self._key]))[self._key]
                if await self._has_read(clients, end):
                    return self.position
            await self._moved(LOOK_INTERVAL_S)

    async def _has_read(self, clients: _Clients, end: int) -> bool:
        while self._clients is clients:
            if self.position >= end:
                return True
            await self._moved(MARKER_WAIT_S)
        return False

    async def _moved(self, wait_s: float) -> None:
        """Wait until a record was read or a client connected, or the time is over."""
        self._progress.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._progress.wait()

    async def _run(self) -> None:
        """Connect, follow, and start again with growing rests, until cancelled."""
        rest_s = REST_MIN_S
        while True:
            try:
                with asking(f"follow control topic {self._topic.name}"):
                    async with AsyncExitStack() as stack:
                        clients = await self._connect(stack)
                        rest_s = REST_MIN_S
                        await self._follow(clients)
            except MpsError as error:
                self._waiting = str(error)
                log.warning(
                    "%s; keeping the state as last read; reconnecting", self.waiting_for(), extra={"code": error.code}
                )
            except Exception as error:  # a bug, and no reason to miss what is decided from then on
                self._waiting = f"could not follow control topic {self._topic.name}: {error!r}"
                log.error("%s; retrying", self.waiting_for(), exc_info=error, extra={"code": "internal"})
            finally:
                self._clients = None
            await asyncio.sleep(rest_s)
            rest_s = min(REST_MAX_S, rest_s * 2)

    async def _connect(self, stack: AsyncExitStack) -> _Clients:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            clients = _Clients(self._consumer(), self._consumer(), b"")
            for client in (clients.tail, clients.looker):
                stack.push_async_callback(stop, client)
            known = self.position >= 0
            if not known:
                await self._ensure_topic()
            # One after the other: of several at once, one that fails leaves the others behind.
            await start(clients.tail, self._options)
            await start(clients.looker, self._options)
            clients.topic_id = await self._id(clients)
            if known and not clients.topic_id:  # it is gone, or this broker knows no id of it
                await self._ensure_topic()
                clients.topic_id = await self._id(clients)
            begin = (await clients.looker.beginning_offsets([self._key]))[self._key]
            end = (await clients.looker.end_offsets([self._key]))[self._key]
            if not end:
                await self._producer.write(self._topic.name, [BEGIN])
        if self.position >= 0 and (self.position > end or _differ(clients.topic_id, self._topic_id)):
            extra = {"code": "control.topic_recreated"}
            log.error("control topic %s was recreated; restoring what was decided", self._topic.name, extra=extra)
            self.position = -1
            self._listener.on_recreated()
        self._topic_id = clients.topic_id or self._topic_id
        self.position = max(self.position, begin)
        clients.tail.assign([self._key])
        clients.tail.seek(self._key, self.position)
        if self._waiting:
            log.info("reading control topic %s", self._topic.name, extra={"code": "control.connected"})
        self._waiting, self._clients = "", clients
        self._progress.set()
        return clients

    async def _id(self, clients: _Clients) -> bytes:
        return (await topic_ids(clients.looker, [self._topic.name])).get(self._topic.name, b"")

    def _consumer(self) -> Any:
        return AIOKafkaConsumer(
            **self._options,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )

    async def _ensure_topic(self) -> None:
        async with admin_client(self._options, CONNECT_TIMEOUT_S, request_timeout_ms=REQUEST_TIMEOUT_MS) as admin:
            weak = await self._topic.ensure(admin)
        if weak:
            extra = {"code": "control.topic_weak"}
            log.warning(
                "control topic %s is weak: %s; going on with it", self._topic.name, ", ".join(weak), extra=extra
            )

    async def _follow(self, clients: _Clients) -> None:
        watch = asyncio.create_task(self._watch(clients))
        try:
            while not watch.done():
                got = await clients.tail.getmany(self._key, timeout_ms=FETCH_WAIT_MS, max_records=RECORDS_PER_TURN_MAX)
                for record in got.get(self._key, ()):
                    self._listener.on_record(record.offset, record.key, record.value, record.headers, record.timestamp)
                self.position = max(self.position, await clients.tail.position(self._key))
                self._progress.set()
            watch.result()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self, clients: _Clients) -> None:
        """Raise KafkaUnavailable once the topic is gone, recreated or unreachable."""
        missed = 0
        while missed < MISSED_MAX:
            await asyncio.sleep(LOOK_INTERVAL_S)
            with suppress(KafkaUnavailable, KafkaRefused), asking("look whether it is there"):  # any broker is asked
                topic_id = await self._id(clients)
                clients.topic_id = self._topic_id = clients.topic_id or topic_id
                if _differ(topic_id, clients.topic_id):
                    break
                missed = 0 if topic_id == clients.topic_id else missed + 1
            async with asyncio.timeout(self._timeout_s):
                await clients.looker.end_offsets([self._key])
        raise KafkaUnavailable(f"control topic {self._topic.name} is gone: somebody deleted it")


def _differ(topic_id: bytes, other: bytes) -> bool:
    """Return True if the ids are of two topics; an empty id says nothing."""
    return bool(topic_id and other) and topic_id != other
