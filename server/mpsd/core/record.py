"""A record as it was read, and where it stands."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from typing_extensions import override

RECORD_OVERHEAD_BYTES = 600
"""Bytes that a pending record costs beside its key, value and headers: measured with tracemalloc, rounded up."""


class TopicPartition(NamedTuple):
    """A partition; equal to, and hashed as, the plain tuple."""

    topic: str
    partition: int

    @override
    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Record(Protocol):
    """A record as the core needs it; the Kafka client's own objects fit, so that none is copied."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch; -1 where the producer gave none."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None:
        """None is a tombstone, which is not the empty value."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class LogBounds(NamedTuple):
    """The offsets of a partition, from `start` up to but not including `end`."""

    start: int
    end: int


class LogPart(NamedTuple):
    """Records of one partition as they were read, from some offset on.

    Attributes:
        next_offset: where the next part begins: beyond holes, and beyond what retention has taken.
    """

    records: Sequence[Record]
    next_offset: int


def record_bytes(record: Record) -> int:
    """Return the bytes of a record that count against a bound: key, value, headers and overhead."""
    size = RECORD_OVERHEAD_BYTES + len(record.value or b"") + len(record.key or b"")
    if record.headers:
        size += sum(len(name) + len(value or b"") + 64 for name, value in record.headers)
    return size
