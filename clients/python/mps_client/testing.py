"""Runs a handler without Kafka and without a daemon, for tests.

    from mps_client.testing import record, rehearse

    def test_a_bill_without_an_amount_is_a_dead_letter():
        seen = rehearse(bill, [record(b"{}", key=b"k1"), record(b'{"amount": 5}', key=b"k1")])
        assert [each.reason for each in seen.dead_letters] == ["no amount"]
        assert len(seen.processed) == 1

Records of one key are delivered one at a time and in order, and records of different keys in parallel. A record to be
retried is delivered again before the next record of its key, with the next attempt. The daemon does the same, with pauses.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from mps_client.handlers import Calls, Handler
from mps_client.http_records import lanes
from mps_client.record import OCTET_STREAM, Record
from mps_client.verdicts import Retry, Verdict

JSON = "application/json"
_offsets = count()


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivery and its verdict.

    Attributes:
        record: the record that was delivered.
        verdict: the verdict of the handler; None: the record was processed.
    """

    record: Record
    verdict: Verdict | None

    def __str__(self) -> str:
        verdict = self.verdict
        if verdict is None:
            result = "processed"
        elif isinstance(verdict, Retry):
            result = f"retry{f' after {verdict.after_s:g} s' if verdict.after_s else ''}: {verdict.reason}"
        else:
            result = f"dead letter: {verdict.reason}"
        return f"{self.record.idempotency_key} key={self.record.key!r} attempt {self.record.attempt}: {result}"


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A record that was dead-lettered.

    Attributes:
        record: the record.
        disposition: `rejected` or `attempts-exhausted`, as in the header of a real dead letter.
        reason: the reason that the handler gave.
    """

    record: Record
    disposition: str
    reason: str


@dataclass(slots=True)
class Rehearsal:
    """The results of all deliveries. Its text has a line for each delivery.

    Attributes:
        deliveries: the deliveries, in the order in which they ended.
        processed: the records that were processed, in that order.
        dead_letters: the records that were dead-lettered, in that order.
    """

    deliveries: list[Delivered] = field(default_factory=list)
    processed: list[Record] = field(default_factory=list)
    dead_letters: list[DeadLettered] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(map(str, self.deliveries))


def record(
    value: bytes | None = b"",
    *,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes | None]] = (),
    topic: str = "topic",
    partition: int = 0,
    offset: int | None = None,
    timestamp_ms: int | None = 0,
    attempt: int = 1,
    epoch: int = 0,
    replay: str = "",
    content_type: str = "",
    idempotency_key: str = "",
) -> Record:
    """Return a record. By default its offset is the next one, and its idempotency key is made of its position."""
    offset = next(_offsets) if offset is None else offset
    made_key = f"{topic}/{partition}/{offset}" + (f"#{replay}" if replay else "")
    made = Record(
        topic,
        partition,
        offset,
        key,
        value,
        headers,
        timestamp_ms,
        attempt,
        epoch,
        replay,
        idempotency_key=idempotency_key or made_key,
    )
    made.content_type = content_type or (JSON if (value or b"")[:1] in (b"{", b"[") else OCTET_STREAM)
    return made


def rehearse(
    handler: Handler, records: Iterable[Record], *, attempts_max: int = 13, concurrency: int = 64
) -> Rehearsal:
    """Run `deliver` in an event loop of its own, for tests that are plain functions."""
    return asyncio.run(deliver(handler, records, attempts_max=attempts_max, concurrency=concurrency))


async def deliver(
    handler: Handler, records: Iterable[Record], *, attempts_max: int = 13, concurrency: int = 64
) -> Rehearsal:
    """Deliver the records to the handler until each is processed or dead-lettered.

    Args:
        attempts_max: the number of attempts after which a record is dead-lettered, as in `retry.attempts_max`.
        concurrency: the largest number of keys at a time.
    """
    seen, waiting = Rehearsal(), iter(lanes(list(records)))
    with Calls(handler, concurrency) as calls:

        async def work(waiting: Iterator[list[Record]]) -> None:
            for lane in waiting:
                for each in lane:
                    await _until_settled(calls, each, seen, attempts_max)

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work(waiting))
    return seen


async def _until_settled(calls: Calls, record: Record, seen: Rehearsal, attempts_max: int) -> None:
    while True:
        holder = _Holder(seen)
        record.hold(holder)
        await calls.settle(record)
        verdict = holder.verdict
        if verdict is None:
            seen.processed.append(record)
        elif not isinstance(verdict, Retry):
            seen.dead_letters.append(DeadLettered(record, "rejected", verdict.reason))
        elif record.attempt >= attempts_max:
            seen.dead_letters.append(DeadLettered(record, "attempts-exhausted", verdict.reason))
        else:
            record = _again(record)
            continue
        return


class _Holder:
    """The receiver of the verdict on one delivery."""

    def __init__(self, seen: Rehearsal) -> None:
        self._seen = seen
        self.verdict: Verdict | None = None

    def settle(self, record: Record, verdict: Verdict | None) -> None:
        self.verdict = verdict
        self._seen.deliveries.append(Delivered(record, verdict))

    def release(self, record: Record) -> None:
        """Do nothing, because the rehearsal itself was cancelled."""


def _again(record: Record) -> Record:
    made = Record(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        record.headers,
        record.timestamp_ms,
        record.attempt + 1,
        record.epoch,
        record.replay,
        idempotency_key=record.idempotency_key,
    )
    made.content_type = record.content_type
    return made
