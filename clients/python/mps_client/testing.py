"""Tries a handler without Kafka and without a daemon.

    from mps_client.testing import record, rehearse

    def test_a_bill_without_an_amount_is_a_dead_letter():
        seen = rehearse(bill, [record(b"{}", key=b"k1"), record(b'{"amount": 5}', key=b"k1")])
        assert [letter.reason for dead letter in seen.dead_letters] == ["no amount"]
        assert len(seen.processed) == 1

The records of one key go one at a time and in order, those of different keys at once, and one that is to be retried comes
again before the next of its key, with its attempt counted: as the daemon does it, but without its pauses.
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
    """One delivery, and what the handler said of it.

    Attributes:
        verdict: None: it was processed.
    """

    record: Record
    verdict: Verdict | None

    def __str__(self) -> str:
        said = self.verdict
        if said is None:
            words = "processed"
        elif isinstance(said, Retry):
            words = f"retry{f' after {said.after_s:g} s' if said.after_s else ''}: {said.reason}"
        else:
            words = f"dead letter: {said.reason}"
        return f"{self.record.idempotency_key} key={self.record.key!r} attempt {self.record.attempt}: {words}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that became a dead letter.

    Attributes:
        disposition: `rejected`, or `attempts-exhausted`; as on a real one.
    """

    record: Record
    disposition: str
    reason: str


@dataclass(slots=True)
class Rehearsal:
    """The outcomes of records. Its text shows every delivery.

    Attributes:
        deliveries: in the order in which they ended.
        processed: in the order in which they were.
    """

    deliveries: list[Delivered] = field(default_factory=list)
    processed: list[Record] = field(default_factory=list)
    dead_letters: list[Letter] = field(default_factory=list)

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
    """Return a record; its offset is one more than that of the one before, if not given, and its key is its place."""
    place = next(_offsets) if offset is None else offset
    made_key = f"{topic}/{partition}/{place}" + (f"#{replay}" if replay else "")
    made = Record(
        topic,
        partition,
        place,
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
    """`deliver`, where no loop runs."""
    return asyncio.run(deliver(handler, records, attempts_max=attempts_max, concurrency=concurrency))


async def deliver(
    handler: Handler, records: Iterable[Record], *, attempts_max: int = 13, concurrency: int = 64
) -> Rehearsal:
    """Give the records to the handler until each is processed or a dead letter.

    Args:
        attempts_max: the daemon's `retry.attempts_max`.
        concurrency: keys at a time.
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
        said = _Said(seen)
        record.hold(said)
        await calls.settle(record)
        verdict = said.verdict
        if verdict is None:
            seen.processed.append(record)
        elif not isinstance(verdict, Retry):
            seen.dead_letters.append(Letter(record, "rejected", verdict.reason))
        elif record.attempt >= attempts_max:
            seen.dead_letters.append(Letter(record, "attempts-exhausted", verdict.reason))
        else:
            record = _again(record)
            continue
        return


class _Said:
    """Listens to one delivery."""

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
