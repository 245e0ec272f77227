"""Writes that must be in all in-sync replicas before anybody relies on them, to one partition of one topic."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from mpsd.errors import ControlUnavailable, MpsError
from mpsd.kafka.connection import asking, start
from mpsd.ports import ControlRecord

CLOSE_TIMEOUT_S = 3.0


class AckedProducer:
    """Appends to partition 0 of a topic; connects when there is something to write.

    The library's idempotent producer tries again for ever. So one that has not answered in time is thrown away with what
    it had to write, which may then be there or not: whoever asks again reads first.

    Holds at most: what was brought to `write` and not answered.
    """

    def __init__(self, topic: str, timeout_s: float, options: Mapping[str, Any]) -> None:
        self._topic = topic
        self._timeout_s = timeout_s
        self._options = options
        self._producer: Any = None
        self._connecting = asyncio.Lock()

    async def write(self, records: Sequence[ControlRecord]) -> int:
        """Append in order; returns the offset of the last.

        Raises:
            ControlUnavailable: it may be written or not.
        """
        try:
            with asking(f"write to {self._topic}"):
                async with asyncio.timeout(self._timeout_s):
                    producer = await self._connected()
                    sent = [
                        await producer.send(self._topic, r.value, r.key, partition=0, headers=list(r.headers))
                        for r in records
                    ]
                    answers = await asyncio.gather(*sent)
        except MpsError as error:
            await self.close()
            words = f"{error}; whether it is written is not known: ask again with the same request id"
            raise ControlUnavailable(words) from error
        return max((int(answer.offset) for answer in answers), default=-1)

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._options, acks="all", enable_idempotence=True, request_timeout_ms=int(self._timeout_s * 1000)
                )
                try:
                    await start(producer, self._options)
                except BaseException:
                    await _abandon(producer)
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        """Disconnect; what has not been acknowledged is given up."""
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
