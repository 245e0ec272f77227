"""The port to a consumer group: partitions come and go, records are fetched, offsets are committed."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from mpsd.core.delivery import Assignment
from mpsd.core.record import Record
from mpsd.ports.peer import Peer


class CommitPoint(NamedTuple):
    """The offset and the metadata that one commit writes for a partition, taken from one snapshot."""

    next_offset: int
    metadata: str


class Position(NamedTuple):
    """The offset from which an assigned partition is read.

    Attributes:
        committed: the group's last commit; None if there is none.
        next_offset: first offset to read: the committed one, or what `start` or `out_of_range` say.
    """

    committed: CommitPoint | None
    next_offset: int
    log_start: int
    log_end: int


class Fetched(NamedTuple):
    """Records of one partition in offset order.

    Attributes:
        next_offset: first offset of the next fetch; beyond the last record's if the log has a hole there.
        high_watermark: log end as the broker last reported it, -1 if unknown.
    """

    records: Sequence[Record]
    next_offset: int
    high_watermark: int


class AssignmentListener(Protocol):
    """The events of a record source; synchronous, called in the loop's thread, may not block."""

    def on_assigned(self, assignment: Assignment, position: Position) -> None:
        """Own the partition from `position` on."""

    def on_leaving(self, assignment: Assignment) -> None:
        """Start nothing new in a partition that must move; drain, commit, then call `RecordSource.release`."""

    def on_stays(self, assignment: Assignment) -> None:
        """Keep a partition that was leaving and may stay after all."""

    def on_share(self, share: float) -> None:
        """Take this member's part of all partitions of the group, 0 up to 1; fleet totals are divided by it."""

    def on_peers(self, peers: Sequence[Peer]) -> None:
        """Take all members of the group in this generation, this one among them, without members of unknown address."""

    def on_log_end(self, assignment: Assignment, log_end: int, stable_end: int) -> None:
        """Take the end of the partition, looked up now and then, so that the lag grows also while nothing is read.

        Args:
            stable_end: end of the readable part; below the log end while a transaction is open.
        """

    def on_unreadable(self, assignment: Assignment, offset: int, reason: str) -> None:
        """Take note that the records from an offset on cannot be read; the source tries again after a while."""

    def on_lost(self, assignment: Assignment) -> None:
        """Forget a partition that another member owns; stale outcomes mean nothing."""


class SourceStatistics(NamedTuple):
    """Statistics of a source.

    Attributes:
        lost_offsets: offsets that were passed over because the log no longer had them.
        numbers: by name, for the eye.
    """

    lost_offsets: int
    numbers: Mapping[str, float]


class RecordSource(Protocol):
    """A membership in a consumer group."""

    async def start(self, listener: AssignmentListener) -> None:
        """Join; return once joined. Waits (visibly) for the broker and for missing topics."""

    async def fetch(
        self, wanted: Collection[Assignment], records_max: int, wait_s: float
    ) -> Mapping[Assignment, Fetched]:
        """Return records of the wanted partitions; with none wanted, keep the membership alive for `wait_s`."""

    def lease_left_s(self) -> float:
        """Return how long deliveries may still be started; 0 or less while the membership is not confirmed.

        The source measures it on a clock that runs while the process is stopped.
        """

    async def commit(self, points: Mapping[Assignment, CommitPoint]) -> None:
        """Commit all points or fail.

        Raises:
            CommitFenced: the membership is over.
            MetadataTooLarge: commit again with less.
            KafkaUnavailable: not now; nothing was lost, commit again later.
        """

    def release(self, assignments: Collection[Assignment]) -> None:
        """Hand on partitions that were leaving and are committed."""

    def topics(self) -> Mapping[str, int]:
        """Return the partition count of each topic, as last reported; without topics that are not known."""

    def waiting_for(self) -> str:
        """Return for people why the source has not joined yet; empty once it has."""

    async def close(self) -> None:
        """Leave the group."""

    def statistics(self) -> SourceStatistics: ...
