"""The base of all guarantees: each takes events in the order of time, and then checks its promise.

A guarantee does no I/O and reads no clock: the same objects judge a simulation on virtual time, an integration test and
the demo. Records are named by where they stand (`orders/3@1842`), never by their keys.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import ClassVar, NamedTuple

from typing_extensions import override

from mpsd.core.outcome import Outcome
from mpsd.core.record import Record, TopicPartition
from mpsd.errors import MpsError

FAULTS_SHOWN_MAX = 5


class RecordPosition(NamedTuple):
    """The position of a record, which identifies it in every event."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def of(cls, record: Record) -> "RecordPosition":
        """Return the position of a record."""
        return cls(record.topic, record.partition, record.offset)

    def is_of(self, partitions: Collection[TopicPartition] | None) -> bool:
        """Return True if the position is in one of these partitions, or if they are None."""
        return partitions is None or TopicPartition(self.topic, self.partition) in partitions

    @override
    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


Lane = tuple[str, int, bytes]


def lane_of(record: Record) -> Lane | None:
    """Return the lane of a record: topic, partition and key; None if the record has no key."""
    return None if record.key is None else (record.topic, record.partition, record.key)


class Fault(NamedTuple):
    """One way in which a guarantee was broken.

    Attributes:
        position: the record it happened to; None where it happened to a partition or to the whole run.
    """

    position: RecordPosition | None
    text: str

    @override
    def __str__(self) -> str:
        return self.text if self.position is None else f"{self.position} {self.text}"


class GuaranteeBroken(MpsError):  # noqa: N818 - it reads as the sentence it is
    """A promise was not kept; `faults` says for which records."""

    code = "guarantee.broken"

    def __init__(self, guarantee: str, faults: Sequence[Fault]) -> None:
        self.guarantee = guarantee
        self.faults = tuple(faults)
        left_out = len(faults) - FAULTS_SHOWN_MAX
        shown = [str(fault) for fault in faults[:FAULTS_SHOWN_MAX]] + ([f"and {left_out} more"] if left_out > 0 else [])
        super().__init__(f"{guarantee}: " + "; ".join(shown))


class Guarantee(ABC):
    """A promise of the service. Override the events that matter to it, and `faults`.

    Events come in the order of their time, on any clock that all of them share; what was produced comes before what
    became of it.
    """

    promise: ClassVar[str]
    """The promise in a few words, for a table."""

    def on_produced(self, record: Record) -> None:
        """Take the event that the broker has acknowledged the record."""

    def on_delivery_started(self, record: Record, at_s: float, attempt: int = 1) -> None:
        """Take the event that the application received the record, with the attempt that the delivery named."""

    def on_delivery_ended(self, record: Record, at_s: float, outcome: Outcome) -> None:
        """Take the event that the application answered, or that the delivery ended without an answer."""

    def on_dead_letter(self, record: Record, at_s: float, disposition: str, reason: str) -> None:
        """Take the event that the record is in the dead-letter topic."""

    def on_committed(self, tp: TopicPartition, next_offset: int, at_s: float) -> None:
        """Take the event that the group's committed offset is `next_offset`."""

    def on_log_end(self, tp: TopicPartition, next_offset: int) -> None:
        """At the end of the story the log of the partition ends before `next_offset`."""

    def on_outage_began(self, at_s: float) -> None:
        """From now on the endpoint is out of reach."""

    def on_outage_ended(self, at_s: float) -> None:
        """Take the event that the endpoint answers again."""

    def on_daemon_killed(
        self, at_s: float, partitions: Collection[TopicPartition] | None = None, since_s: float | None = None
    ) -> None:
        """Take the event that a daemon died or lost its membership; see `DaemonKilled`."""

    def on_removed(self, record: Record) -> None:
        """Retention has taken the record."""

    def on_epoch(self, tp: TopicPartition, epoch: int, holder: str, at_s: float) -> None:
        """Take the event that a delivery came with this epoch from this instance."""

    def on_spared(self, record: Record, failures: int) -> None:
        """So many failures of the record cost no attempt in the end."""

    @abstractmethod
    def faults(self) -> Sequence[Fault]:
        """Every breach so far; empty while the promise holds."""

    def check(self) -> None:
        """Judge all that happened.

        Raises:
            GuaranteeBroken: with the records concerned.
        """
        if faults := self.faults():
            raise GuaranteeBroken(type(self).__name__, faults)
