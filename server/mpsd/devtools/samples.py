"""The records that matter: what a topic brings sooner or later, whatever its producers promise."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mpsd.core.delivery import Assignment, Delivery, FailureHistory
from mpsd.core.incarnation import UNKNOWN, Incarnation
from mpsd.core.record import TopicPartition, record_bytes
from mpsd.kafka.topics import Message

MEBIBYTE = 1 << 20
CONCURRENT = 8
"""Deliveries at once; enough to see whether they get in each other's way."""
TIMESTAMP_MS = 1_700_000_000_000
JSON_TYPE: tuple[str, bytes | None] = ("content-type", b"application/json")
OWN_MAX = 100
"""Records of a file that are delivered; the rest say no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A record as a topic might hold it."""

    key: bytes | None = b"customer-1"
    value: bytes | None = b'{"sample":true}'
    headers: Sequence[tuple[str, bytes | None]] = (JSON_TYPE,)
    timestamp: int = TIMESTAMP_MS
    topic: str = "check-endpoint"
    partition: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Records that are delivered together.

    Attributes:
        name: of a fixed set; the advice knows them.
        is_again: it was delivered before, so that it is an attempt later.
    """

    name: str
    title: str
    samples: Sequence[Sample]
    is_again: bool = False


def steps(own: Sequence[Sample], batch: int) -> Iterator[Step]:
    """Return the steps in the order in which they are delivered.

    Args:
        own: records of the user's, the first of which stands for an ordinary one; empty: one of ours does.
        batch: records in one request, 1: each has its own.
    """
    normal = own[0] if own else Sample()
    keyed = [replace(normal, key=b"customer-%d" % number) for number in range(1, max(CONCURRENT, batch) + 1)]
    poison = replace(normal, key=b"poison", value=b'\xff\x00{"not what', headers=(JSON_TYPE,))
    yield Step(name="normal", title="a normal record", samples=[normal])
    for number, each in enumerate(own[1:OWN_MAX], 2):
        yield Step(name="own", title=f"record {number} of the file", samples=[each])
    yield Step(name="again", title="the same again, as after a crash", samples=[normal], is_again=True)
    yield Step(name="concurrent", title=f"{CONCURRENT} keys at once", samples=keyed[:CONCURRENT])
    if batch > 1:
        yield Step(name="batch", title=f"{batch} records in a request", samples=keyed[:batch])
        spoiled = [*keyed[: batch // 2], poison, *keyed[batch // 2 : batch - 1]]
        yield Step(name="spoiled", title=f"{batch} records, one of them poison", samples=spoiled)
    yield Step(name="poison", title="poison: not what it says it is", samples=[poison])
    yield Step(name="tombstone", title="a tombstone: no value", samples=[replace(normal, value=None)])
    yield Step(name="binary-key", title="a key of bytes, not text", samples=[replace(normal, key=bytes(range(256)))])
    yield Step(
        name="bare", title="no key, time or headers", samples=[replace(normal, key=None, headers=(), timestamp=-1)]
    )
    yield Step(name="large", title="a value of 1 MiB", samples=[replace(normal, value=_large(normal))])


def _large(normal: Sample) -> bytes:
    """Return a value of 1 MiB of the same kind: a JSON object gets one more member."""
    value = normal.value or b""
    try:
        given = json.loads(value)
    except ValueError:
        return value.ljust(MEBIBYTE, b".")
    if not isinstance(given, dict):
        return value.ljust(MEBIBYTE)
    padding = MEBIBYTE - len(json.dumps({**given, "padding": ""}))
    return json.dumps({**given, "padding": "x" * max(0, padding)}).encode()


def deliveries(step: Step, begin: int, incarnation: Incarnation = UNKNOWN) -> list[Delivery]:
    """Return the deliveries of a step, as the pipeline would hand them over.

    Args:
        begin: offset of the first; one that comes again has the offset that it had.
        incarnation: the topic that the records are of, so that an application knows no key from a call before.
    """
    made = []
    for number, sample in enumerate(step.samples):
        record = replace(sample, offset=0 if step.is_again else begin + number)
        assignment = Assignment(TopicPartition(record.topic, record.partition), 1, incarnation)
        delivery = Delivery(record, assignment, record.key, record_bytes(record))
        if step.is_again:
            delivery.failures = FailureHistory(attempts=1)
        made.append(delivery)
    return made


def sample_of(message: Message) -> Sample:
    """Return a record of the user's file as a sample."""
    return Sample(key=message.key, value=message.value, headers=tuple(message.headers))
