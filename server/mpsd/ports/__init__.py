"""The edges of the pipeline: what it needs of a broker and of a way to deliver, and nothing more."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import Outcome
from mpsd.core.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What time it is; stages bind the functions, so that a call costs what the function costs.

    Attributes:
        monotonic_s: seconds since some moment; never goes back.
        wall_s: seconds since the epoch.
    """

    monotonic_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time


SYSTEM_CLOCK = Clock()


class Demand(NamedTuple):
    """What an adapter would take now."""

    records: int
    bytes: int


class Peer(NamedTuple):
    """An instance as it describes itself to the other members of its groups.

    Attributes:
        admin: `host:port` of its admin listener, empty where nobody can reach it; `http` and `stream` likewise.
        instance: the id of its process, drawn at the start; two processes never share one, whatever they advertise.
        host: name of its machine, for people.
        network: id of the network stack that its loopback addresses belong to; empty if unknown.
    """

    admin: str
    http: str
    stream: str
    instance: str = ""
    host: str = ""
    network: str = ""


NOWHERE = Peer("", "", "")


class DeliveryAdapter(Protocol):
    """A way to deliver. Each delivery is settled exactly once, in the loop's thread, whenever its answer comes."""

    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        """Called once, before anything else.

        Args:
            on_demand: to be called when `demand()` rose from zero; cheap, may be called too often.
            settle: what a delivery came to; it may call `deliver` before it returns, but never does so itself
                synchronously from within `deliver`.
        """

    def demand(self) -> Demand: ...

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """Hand over deliveries within the demand; returns at once and never settles before it has returned.

        A run of one lane, for adapters made for it, is settled in order, as Withdrawn behind the first that failed.
        """

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        """Wait until no delivery of the assignment is in flight.

        Args:
            deadline_s: how long they may take from now; then their connections are aborted and they are settled as
                Withdrawn, all before this returns.
        """

    async def close(self, deadline_s: float) -> None:
        """Like `revoke` for everything, then free all resources. No delivery is accepted afterwards."""

    def on_peers(self, peers: Sequence[Peer]) -> None:
        """All instances that share the subscription's group now, this one among them."""

    def statistics(self) -> Mapping[str, int | float | str]: ...


class CommitPoint(NamedTuple):
    """What a commit says of a partition, taken from one snapshot."""

    next_offset: int
    metadata: str


class Position(NamedTuple):
    """Where an assigned partition begins to be read.

    Attributes:
        committed: what the group had committed, None where it had nothing.
        next_offset: where reading starts: the committed offset, or what `start` or `out_of_range` say.
    """

    committed: CommitPoint | None
    next_offset: int
    log_start: int
    log_end: int


class Fetched(NamedTuple):
    """Records of one partition in offset order.

    Attributes:
        next_offset: where the next fetch goes on; beyond the last record where the log has a hole there.
        high_watermark: log end as the broker last said, -1 if unknown.
    """

    records: Sequence[Record]
    next_offset: int
    high_watermark: int


class AssignmentListener(Protocol):
    """What a record source tells; synchronous, called in the loop's thread, may not block."""

    def on_assigned(self, assignment: Assignment, position: Position) -> None:
        """The partition is ours from `position` on."""

    def on_leaving(self, assignment: Assignment) -> None:
        """It must move: start nothing new, drain, commit, then call `RecordSource.release`."""

    def on_stays(self, assignment: Assignment) -> None:
        """It was leaving and may stay after all."""

    def on_share(self, share: float) -> None:
        """This member's part of all partitions of the group, 0 up to 1; fleet totals are divided by it."""

    def on_peers(self, peers: Sequence[Peer]) -> None:
        """All members of the group as of this generation, this one among them; those of whom nothing is known left out."""

    def on_log_end(self, assignment: Assignment, log_end: int, stable_end: int) -> None:
        """Take the end of the partition, looked up now and then, so that the lag grows also while nothing is read.

        Args:
            stable_end: where what can be read ends; below the log end while a transaction is open.
        """

    def on_unreadable(self, assignment: Assignment, offset: int, reason: str) -> None:
        """Take note that the records from an offset on cannot be read; it is tried again after a while."""

    def on_lost(self, assignment: Assignment) -> None:
        """It is somebody else's: forget all of it; late outcomes mean nothing."""


class RecordSource(Protocol):
    """A consumer group's membership: partitions come and go, records are fetched, offsets committed."""

    async def start(self, listener: AssignmentListener) -> None:
        """Join; returns once joined. Waits (visibly) for the broker and for missing topics."""

    async def fetch(
        self, wanted: Collection[Assignment], records_max: int, wait_s: float
    ) -> Mapping[Assignment, Fetched]:
        """Records of the wanted partitions; with nothing wanted just keeps the membership alive for `wait_s`."""

    def lease_left_s(self) -> float:
        """How long deliveries may still be started; 0 or less while the membership is not confirmed.

        On a clock that runs while the process is stopped.
        """

    async def commit(self, points: Mapping[Assignment, CommitPoint]) -> None:
        """Commit all or fail.

        Raises:
            CommitFenced: the membership is over.
            MetadataTooLarge: commit again with less.
            KafkaUnavailable: not now; nothing was lost, commit again later.
        """

    def release(self, assignments: Collection[Assignment]) -> None:
        """These left with everything committed: hand them on."""

    def topics(self) -> Mapping[str, int]:
        """Return how many partitions each topic has, as last heard; without those that are not known."""

    def waiting_for(self) -> str:
        """What keeps it from having joined, in words; empty once it has."""

    async def close(self) -> None:
        """Leave the group."""

    def statistics(self) -> Mapping[str, int | float | str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record for the dead-letter topic.

    Attributes:
        headers: those added, in order; the record's own come first.
    """

    delivery: Delivery
    disposition: str
    reason: str
    headers: Sequence[tuple[str, bytes]]


class DlqPosition(NamedTuple):
    """Where a dead letter is."""

    topic: str
    partition: int
    offset: int


class DeadLetterSink(Protocol):
    """Where dead letters are kept."""

    def write(self, dead_letters: Sequence[DeadLetter]) -> Awaitable[Sequence[DlqPosition | BaseException]]:
        """Write all; per dead letter where it is once every in-sync replica has it, or why it could not be written."""

    async def prepare(self) -> None:
        """Make the topic if it is not there; called once at the start, so that trouble with it is seen early.

        Raises:
            KafkaRefused, KafkaUnavailable: it could not be; `write` tries again.
        """

    async def close(self) -> None: ...
