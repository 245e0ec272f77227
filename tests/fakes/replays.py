"""A dead-letter topic and a producer in memory, for replays."""

import asyncio
from collections.abc import Sequence

from mpsd.core.dead_letter import Sender, headers
from mpsd.core.delivery import FailureHistory, ReplayedDelivery
from mpsd.core.outcome import Outcome
from mpsd.core.record import LogBounds, LogPart
from mpsd.core.retry import DeadLetterRequest, Disposition
from mpsd.errors import DeadLetterTopicGone
from mpsd.pipeline.replay.sender import Replaying
from tests.fakes.control import FakeControlTopic
from tests.fakes.records import POISON, PRODUCED_MS, Row, assigned, delivery

SENDER = Sender(subscription="billing", group="billing", endpoint="http://127.0.0.1:8000/orders")


def dead_letter(
    offset: int,
    source_offset: int,
    key: bytes | None = b"a",
    *,
    partition: int = 0,
    replays: int = 0,
    last: Outcome = POISON,
    number: int = 0,
    sender: Sender = SENDER,
    at_ms: int = PRODUCED_MS,
) -> Row:
    """Return a dead letter as the daemon writes it; `number` is its partition."""
    dead = delivery(source_offset, key, assigned(partition))
    dead.failures = FailureHistory(attempts=1, last=last)
    reason = getattr(last, "reason", "")
    added = headers(dead, DeadLetterRequest(disposition=Disposition.REJECTED, reason=reason), sender)
    added = [(name, str(replays).encode() if name == "mps-dlq-replays" else value) for name, value in added]
    return Row(
        topic="orders.dlq", partition=number, offset=offset, key=key, value=b"v%d" % source_offset,
        headers=[("own", b"1"), *added], timestamp=at_ms,
    )  # fmt: skip


class FakeDeadLetterLog:
    """`DeadLetterLog`, whose partitions are lists; holes are allowed.

    Attributes:
        fetched: the partition of each fetch.
    """

    def __init__(self, *rows: Row, partitions: int = 1) -> None:
        partitions = max([partitions, *(row.partition + 1 for row in rows)])
        self.rows: dict[int, list[Row]] = {number: [] for number in range(partitions)}
        for row in rows:
            self.rows[row.partition].append(row)
        self.starts = dict.fromkeys(self.rows, 0)
        self.error: Exception | None = None
        self.records_max = 1_000
        self.topic_id = ""
        self.fetched: list[int] = []

    async def bounds(self) -> dict[int, LogBounds]:
        if self.error is not None:
            raise self.error
        return {n: LogBounds(self.starts[n], rows[-1].offset + 1 if rows else 0) for n, rows in self.rows.items()}

    async def fetch(self, partition: int, offset: int, records_max: int) -> LogPart:
        await asyncio.sleep(0.001)
        self.fetched.append(partition)
        if self.error is not None:
            raise self.error
        if partition not in self.rows:
            raise DeadLetterTopicGone("no such partition")
        if offset < self.starts[partition]:
            return LogPart((), self.starts[partition])
        rows = [row for row in self.rows[partition] if row.offset >= max(offset, self.starts[partition])]
        rows = rows[: min(records_max, self.records_max)]
        return LogPart(rows, rows[-1].offset + 1 if rows else offset)

    async def close(self) -> None: ...


class FakeRepublisher:
    """`Republisher`."""

    def __init__(self) -> None:
        self.written: list[ReplayedDelivery] = []
        self.errors: list[Exception] = []

    async def write(self, deliveries: Sequence[ReplayedDelivery]) -> None:
        await asyncio.sleep(0.001)
        if self.errors:
            raise self.errors.pop()
        self.written += deliveries

    async def close(self) -> None: ...


def replaying(log: FakeDeadLetterLog, republisher: FakeRepublisher, topic: FakeControlTopic, **rules: int) -> Replaying:
    """Return the parts that a subscription replays with."""
    bounds = {"replays_max": 3, "replayed_bytes_max": 256 * 1024, "tasks_max": 100, **rules}
    return Replaying(topic="orders.dlq", log=log, republisher=republisher, record=topic.record, **bounds)
