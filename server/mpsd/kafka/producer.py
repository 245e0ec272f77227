"""Producers whose records count once all in-sync replicas have them, and the way of replayed records through one."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from mpsd.core.dead_letter import REPLAY_HEADER, REPLAYS_HEADER
from mpsd.core.delivery import ReplayedDelivery
from mpsd.errors import ControlUnavailable, MpsError
from mpsd.kafka.connection import Options, asking_within, start
from mpsd.ports import ControlRecord

REQUEST_BYTES_MAX = 1 << 30
"""The client's own bound is out of the way: the broker's is the one that counts."""
CLOSE_TIMEOUT_S = 3.0
LOOP_GUARDS = frozenset({REPLAY_HEADER, REPLAYS_HEADER})


class AckedProducer:
    """An idempotent producer, acknowledged by all in-sync replicas, which connects when there is something to write.

    The library's idempotent producer tries again for ever. So one that has not answered in time is thrown away with what
    it had to write, which may then be there or not: whoever asks again reads first.

    Holds at most: what was brought to it and not answered.
    """

    def __init__(self, timeout_s: float, options: Options) -> None:
        self._timeout_s = timeout_s
        self._options = options
        self._producer: Any = None
        self._connecting = asyncio.Lock()

    async def connected(self) -> Any:
        """Return the client library's producer, connected.

        Raises:
            KafkaError, OSError: as the library does.
        """
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._options,
                    acks="all",
                    enable_idempotence=True,
                    max_request_size=REQUEST_BYTES_MAX,
                    request_timeout_ms=int(self._timeout_s * 1000),
                )
                try:
                    await start(producer, self._options)
                except BaseException:
                    await _abandon(producer)
                    raise
                self._producer = producer
            return self._producer

    async def write(self, topic: str, records: Sequence[ControlRecord]) -> int:
        """Append records to partition 0 of a topic in order; return the offset of the last.

        Raises:
            ControlUnavailable: it may be written or not.
        """
        try:
            async with asking_within(f"write to {topic}", self._timeout_s):
                producer = await self.connected()
                sent = [
                    await producer.send(topic, r.value, r.key, partition=0, headers=list(r.headers)) for r in records
                ]
                answers = await asyncio.gather(*sent)
        except MpsError as error:
            await self.close()
            words = f"{error}; the record may be written or not: ask again with the same request id"
            raise ControlUnavailable(words) from error
        return max((int(answer.offset) for answer in answers), default=-1)

    async def close(self) -> None:
        """Disconnect, and connect again at the next write; what has not been acknowledged is given up."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(TimeoutError, KafkaError, OSError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await _abandon(producer)


async def _abandon(producer: Any) -> None:
    """Disconnect at once; `stop` would wait for what the broker does not acknowledge, and leave it being sent for ever."""
    producer._closed = True
    await producer._sender.close()
    await producer.client.close()


async def send(
    producer: Any,
    topic: str,
    partition: int | None,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
    timestamp_ms: int | None = None,
) -> Any:
    """Return the future of the acknowledgement.

    A record of neither key nor value, which Kafka knows and the library's `send` refuses, goes as a batch.
    """
    if key is None and value is None:
        batch = producer.create_batch()
        batch.append(key=None, value=None, timestamp=timestamp_ms, headers=headers)
        return await producer.send_batch(batch, topic, partition=partition)
    return await producer.send(topic, value, key, partition=partition, timestamp_ms=timestamp_ms, headers=headers)


class KafkaRepublisher:
    """A writer of replayed records to the topics they came from, for replays that all groups are to see.

    What goes out of a connection that failed may be there twice, never not at all.
    """

    def __init__(self, options: Options, write_timeout_s: float) -> None:
        self._write_timeout_s = write_timeout_s
        self._producer = AckedProducer(write_timeout_s, options)
        self._one = asyncio.Lock()
        self.close = self._producer.close

    async def write(self, deliveries: Sequence[ReplayedDelivery]) -> None:
        """Write all of them into the partitions they were read from, with what guards against loops.

        One whose partition exists no more goes where its key belongs now.

        Raises:
            KafkaUnavailable, KafkaRefused: some may be written or not; write all again.
        """
        async with self._one:
            try:
                async with asking_within("write replayed records to their topics", self._write_timeout_s):
                    producer = await self._producer.connected()
                    await asyncio.gather(*[await _send_again(producer, delivery) for delivery in deliveries])
            except BaseException:
                await self.close()  # a producer that failed may have lost its sequence
                raise


async def _send_again(producer: Any, delivery: ReplayedDelivery) -> Any:
    """Return the future of the acknowledgement."""
    record = delivery.record
    guards = [(REPLAY_HEADER, (delivery.replay or "").encode()), (REPLAYS_HEADER, str(delivery.replays + 1).encode())]
    headers = [(name, value) for name, value in record.headers if name not in LOOP_GUARDS] + guards
    partitions = await producer.partitions_for(record.topic)
    partition: int | None = record.partition
    if record.partition not in partitions:
        partition = None if record.key is not None else record.partition % len(partitions)
    return await send(producer, record.topic, partition, record.key, record.value, headers)
