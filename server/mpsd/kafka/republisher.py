"""Records written back to the topics they came from, for replays that all groups are to see."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from mpsd.core.dead_letter import REPLAY_HEADER, REPLAYS_HEADER
from mpsd.core.delivery import ReplayedDelivery
from mpsd.kafka.connection import asking, start

REQUEST_BYTES_MAX = 1 << 30
"""The client's own bound is out of the way: the broker's is the one that counts."""
CLOSE_TIMEOUT_S = 3.0
LOOP_GUARDS = frozenset({REPLAY_HEADER, REPLAYS_HEADER})


class KafkaRepublisher:
    """An idempotent producer, acknowledged by all in-sync replicas, which connects when there is something to write.

    What goes out of a connection that failed may be there twice, never not at all.
    """

    def __init__(self, options: Mapping[str, Any], write_timeout_s: float) -> None:
        """Begin unconnected.

        Args:
            options: of every client: see `connection.client_options`.
        """
        self._options = options
        self._write_timeout_s = write_timeout_s
        self._producer: Any = None
        self._one = asyncio.Lock()

    async def write(self, deliveries: Sequence[ReplayedDelivery]) -> None:
        """Write all of them into the partitions they were read from, with what guards against loops.

        One whose partition exists no more goes where its key belongs now.

        Raises:
            KafkaUnavailable, KafkaRefused: some may be written or not; write all again.
        """
        async with self._one:
            try:
                with asking("write replayed records to their topics"):
                    async with asyncio.timeout(self._write_timeout_s):
                        producer = await self._connected()
                        await asyncio.gather(*[await _begin(producer, delivery) for delivery in deliveries])
            except BaseException:
                await self.close()  # a producer that failed may have lost its sequence
                raise

    async def close(self) -> None:
        """Disconnect; the next write connects again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(TimeoutError, KafkaError, OSError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await producer.stop()

    async def _connected(self) -> Any:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                **self._options,
                acks="all",
                enable_idempotence=True,
                max_request_size=REQUEST_BYTES_MAX,
                request_timeout_ms=int(self._write_timeout_s * 1000),
            )
            await start(self._producer, self._options)
        return self._producer


async def _begin(producer: Any, delivery: ReplayedDelivery) -> Any:
    """Return the future of the acknowledgement; a record of neither key nor value, which `send` refuses, goes as a batch."""
    record = delivery.record
    guards = [(REPLAY_HEADER, (delivery.replay or "").encode()), (REPLAYS_HEADER, str(delivery.replays + 1).encode())]
    headers = [(name, value) for name, value in record.headers if name not in LOOP_GUARDS] + guards
    partitions = await producer.partitions_for(record.topic)
    partition: int | None = record.partition
    if record.partition not in partitions:
        partition = None if record.key is not None else record.partition % len(partitions)
    if record.key is None and record.value is None:
        batch = producer.create_batch()
        batch.append(key=None, value=None, timestamp=None, headers=headers)
        return await producer.send_batch(batch, record.topic, partition=partition)
    return await producer.send(record.topic, record.value, record.key, partition=partition, headers=headers)
