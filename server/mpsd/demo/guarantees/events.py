"""Events that can be seen from outside of the service, as values: collected anywhere and sorted by time."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from mpsd.core.outcome import Outcome
from mpsd.core.record import Record, TopicPartition


class SeenRecord(NamedTuple):
    """A record as an application or a log knows it: where it stands, and its key."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    timestamp: int = -1
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Produced(NamedTuple):
    """The broker has acknowledged the record."""

    record: Record


class DeliveryStarted(NamedTuple):
    """The application received the record."""

    record: Record
    at_s: float
    attempt: int = 1


class DeliveryEnded(NamedTuple):
    """The application answered, or the delivery ended without an answer."""

    record: Record
    at_s: float
    outcome: Outcome


class DeadLettered(NamedTuple):
    """The record stands in the dead-letter topic."""

    record: Record
    at_s: float
    disposition: str
    reason: str


class Committed(NamedTuple):
    """The group's committed offset was seen."""

    tp: TopicPartition
    next_offset: int
    at_s: float


class LogEnd(NamedTuple):
    """The log end of a partition at the end of the story."""

    tp: TopicPartition
    next_offset: int


class OutageBegan(NamedTuple):
    """The endpoint is out of reach from now on."""

    at_s: float


class OutageEnded(NamedTuple):
    """The endpoint is back."""

    at_s: float


class DaemonKilled(NamedTuple):
    """A daemon died, or lost its membership, without a chance to finish anything.

    Attributes:
        partitions: those that it held; None where that is not known.
        since_s: what it had finished before then was committed; None: whatever the guarantee allows by itself.
    """

    at_s: float
    partitions: Collection[TopicPartition] | None = None
    since_s: float | None = None


class Removed(NamedTuple):
    """Retention has taken the record, settled or not."""

    record: Record


class EpochSeen(NamedTuple):
    """A delivery came with this epoch from this instance."""

    tp: TopicPartition
    epoch: int
    holder: str
    at_s: float


class Spared(NamedTuple):
    """Failures of the record that cost no attempt in the end, as nothing succeeded meanwhile."""

    record: Record
    failures: int


TimedEvent = (
    DeliveryStarted | DeliveryEnded | DeadLettered | Committed | OutageBegan | OutageEnded | DaemonKilled | EpochSeen
)
Event = Produced | Removed | LogEnd | Spared | TimedEvent
