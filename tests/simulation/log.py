"""Records and the logs of partitions, with holes where compaction or transaction markers leave them."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class SimulatedRecord:
    """A record as the client library would hand it out."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None = b"v"
    headers: Sequence[tuple[str, bytes | None]] = ()


class Read(NamedTuple):
    """The result of a fetch."""

    records: Sequence[SimulatedRecord]
    next_offset: int
    high_watermark: int


class PartitionLog:
    """One partition on the broker.

    Attributes:
        start: the first offset that retention has left.
        end: the offset that the next record gets.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.records: list[SimulatedRecord] = []
        self._offsets: list[int] = []

    def append(self, record: SimulatedRecord) -> None:
        self.records.append(record)
        self._offsets.append(record.offset)
        self.end = record.offset + 1

    def skip(self, offsets: int) -> None:
        """Skip offsets: of a marker, or removed by compaction."""
        self.end += offsets

    def delete_before(self, offset: int) -> Sequence[SimulatedRecord]:
        """Retention; returns what is gone."""
        at = bisect_left(self._offsets, offset)
        gone = self.records[:at]
        del self.records[:at], self._offsets[:at]
        self.start = max(self.start, offset)
        return gone

    def has(self, offset: int) -> bool:
        return self.start <= offset <= self.end

    def read(self, offset: int, records_max: int) -> Read:
        at = bisect_left(self._offsets, offset)
        found = self.records[at : at + records_max]
        is_rest = at + records_max >= len(self.records)
        return Read(found, self.end if is_rest else found[-1].offset + 1, self.end)
