"""An application that dials in with the project's own client, and remembers when each delivery began and ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self

from mps_client import DeadLetter, Record, Subscription
from mpsd.core.outcome import DELIVERED
from mpsd.demo.guarantees.event_log import outcome_of
from mpsd.demo.guarantees.events import DeliveryEnded, DeliveryStarted, SeenRecord, TimedEvent
from mpsd.demo.guarantees.guarantee import RecordPosition


async def accept(record: Record) -> None:
    """After a turn of the loop."""
    await asyncio.sleep(0)


class StreamingApplication:
    """Use it with `async with`; leaving it stops as SIGTERM would.

    Args:
        addresses: of the daemons to ask first.
        behaviour: a handler.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        behaviour: Callable[[Record], Awaitable[None]] = accept,
        *,
        subscription: str = "orders",
        **options: Any,
    ) -> None:
        self.behaviour = behaviour
        self.events: list[TimedEvent] = []
        self.accepted: dict[RecordPosition, int] = {}
        self.records = Subscription(subscription, addresses, **options)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.records.run(self._work, signals=()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.records.stop()
        assert self._task is not None
        await self._task

    @property
    def open_streams(self) -> int:
        return sum(daemon.is_open for daemon in self.records.statistics().daemons)

    async def _work(self, record: Record) -> None:
        seen = SeenRecord(record.topic, record.partition, record.offset, record.key)
        self.events.append(DeliveryStarted(seen, time.monotonic(), record.attempt))
        outcome: Any = DELIVERED
        try:
            await self.behaviour(record)
            self.accepted[RecordPosition.of(seen)] = self.accepted.get(RecordPosition.of(seen), 0) + 1
        except DeadLetter as error:
            outcome = outcome_of(422, error.reason)
            raise
        except Exception as error:
            outcome = outcome_of(500, str(error))
            raise
        finally:
            self.events.append(DeliveryEnded(seen, time.monotonic(), outcome))
