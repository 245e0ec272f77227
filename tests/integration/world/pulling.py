"""An application that asks for records, and remembers when each delivery began and ended."""

import asyncio
import time
from base64 import b64decode
from collections.abc import Sequence
from typing import Any, Self

from mpsd.core.outcome import DELIVERED, Outcome, Rejected, Retryable
from mpsd.demo.guarantees.events import DeliveryEnded, DeliveryStarted, SeenRecord, TimedEvent
from mpsd.demo.guarantees.guarantee import RecordPosition
from tests.conformance.http_client import Caller

VERDICTS: dict[str, Outcome] = {
    "ack": DELIVERED,
    "retry": Retryable(code="verdict_retry", reason="as told"),
    "dead-letter": Rejected(code="verdict", reason="as told"),
}


class PullingApplication:
    """Callers that ask daemons in turn, and accept what they are given. Use it with `async with`.

    Args:
        through: addresses of daemons, as behind a load balancer: no caller asks the same twice in a row, not even to settle.

    Attributes:
        verdict: what each record is settled with; empty: none is settled.
    """

    def __init__(self, through: Sequence[str], *, subscription: str = "orders", callers: int = 4) -> None:
        self.through = list(through)
        self.events: list[TimedEvent] = []
        self.accepted: dict[RecordPosition, int] = {}
        self.results: list[str] = []
        self.verdict = "ack"
        self._path = f"/v1/subscriptions/{subscription}/leases"
        self._callers = callers
        self._turn = 0
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._poll()) for _ in range(self._callers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    def _next(self) -> str:
        self._turn += 1
        return self.through[self._turn % len(self.through)]

    async def _poll(self) -> None:
        while not self._stop.is_set():
            async with Caller(self._next()) as caller:
                answer = await caller.post(self._path, {"records_max": 20, "wait_s": 1})
            assert answer.status == 200, answer
            lease = answer.json()
            if lease["records"]:
                await self._accept(lease)

    async def _accept(self, lease: dict[str, Any]) -> None:
        seen = [seen_record(record) for record in lease["records"]]
        for record, given in zip(seen, lease["records"], strict=True):
            self.events.append(DeliveryStarted(record, time.monotonic(), given["attempt"]))
        await asyncio.sleep(0)
        verdict = self.verdict
        if not verdict:
            return
        for record in seen:
            self.events.append(DeliveryEnded(record, time.monotonic(), VERDICTS[verdict]))
        settlements = [{"delivery_id": record["delivery_id"], "verdict": verdict} for record in lease["records"]]
        async with Caller(self._next()) as caller:
            answer = await caller.post(lease["settle_url"], {"settlements": settlements})
        assert answer.status == 200, answer
        for record, result in zip(seen, answer.json()["results"], strict=True):
            self.results.append(result["result"])
            if verdict != "ack" or result["result"] != "settled":
                continue
            self.accepted[RecordPosition.of(record)] = self.accepted.get(RecordPosition.of(record), 0) + 1


def seen_record(record: dict[str, Any]) -> SeenRecord:
    """Return a record of an answer as a seen record."""
    key = record.get("key")
    key = b64decode(record["key_base64"]) if "key_base64" in record else None if key is None else key.encode()
    return SeenRecord(record["topic"], record["partition"], record["offset"], key)
