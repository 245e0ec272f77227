"""Membership of a group: its lease, its partitions, the client that has them, and its commits."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import (
    IllegalGenerationError,
    OffsetMetadataTooLargeError,
    RebalanceInProgressError,
    RequestTimedOutError,
    UnknownMemberIdError,
)
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata

from mpsd.core.delivery import Assignment
from mpsd.core.record import TopicPartition
from mpsd.errors import CommitFenced, KafkaUnavailable, MetadataTooLarge
from mpsd.kafka.connection import asking
from mpsd.kafka.consumer import GroupSettings
from mpsd.kafka.positions import Positions
from mpsd.ports import CommitPoint

MEMBERSHIP_LOST = {22, 25}
"""IllegalGeneration and UnknownMemberId."""


HEARTBEATS_PER_SESSION = 3
"""A heartbeat without an answer for this part of the session: another broker may be the coordinator by now."""


def boottime_s() -> float:
    """Return the time of a clock that runs while the process or the machine is stopped, if the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """A lease that every heartbeat, join and sync renews from its sending, if it is answered without an error.

    RebalanceInProgress does not renew it: the rebalance time-out, after which a silent member is dropped, is running then.
    """

    def __init__(
        self, session_timeout_ms: int, rebalance_timeout_ms: int, clock_s: Callable[[], float] = boottime_s
    ) -> None:
        self._clock_s = clock_s
        self._length_s = min(session_timeout_ms, rebalance_timeout_ms) / 1000
        self._heartbeat_s = session_timeout_ms / HEARTBEATS_PER_SESSION / 1000
        self._end_s = 0.0

    def hook(self, coordinator: Any) -> None:
        """Watch every request of the membership, from before the consumer subscribes, so that none is missed."""
        send = coordinator._send_req

        async def send_and_renew(request: Any) -> Any:
            sent_s = self._clock_s()
            try:
                async with asyncio.timeout(self._heartbeat_s if isinstance(request, HeartbeatRequest) else None):
                    response = await send(request)
            except TimeoutError:
                coordinator.coordinator_dead()
                raise RequestTimedOutError from None
            if isinstance(request, HeartbeatRequest | JoinGroupRequest | SyncGroupRequest):
                self.answered(response.error_code, sent_s)
            return response

        coordinator._send_req = send_and_renew

    def answered(self, error_code: int, sent_s: float) -> None:
        """Renew or end the lease by an answer of the coordinator."""
        if error_code == 0:
            self._end_s = max(self._end_s, sent_s + self._length_s)
        elif error_code in MEMBERSHIP_LOST:
            self.end()

    def end(self) -> None:
        """End the lease."""
        self._end_s = 0.0

    def left_s(self) -> float:
        """Return the rest of the lease; at 0 or less no delivery may start."""
        return self._end_s - self._clock_s()


class OwnedPartition:
    """A partition of this member.

    Attributes:
        key: the partition as the client library names it.
        position: the offset that is read next; None until the committed one was looked up.
        leaving: it is being drained.
        stopped: why it is not read at all, in words; empty otherwise.
    """

    __slots__ = ("assignment", "key", "leaving", "position", "stopped")

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.key = ClientPartition(*assignment.tp)
        self.position: int | None = None
        self.leaving = False
        self.stopped = ""


class Membership:
    """A member's knowledge, which the group and its background work share.

    Attributes:
        consumer: the present client; None before the first connection.
        owned: partitions that are ours now.
    """

    def __init__(self, settings: GroupSettings, lease: Lease, positions: Positions) -> None:
        self.settings = settings
        self.lease = lease
        self.positions = positions
        self.consumer: Any = None
        self.owned: dict[TopicPartition, OwnedPartition] = {}

    def is_ours(self, assignment: Assignment) -> bool:
        """Return True if the assignment is the present one of its partition."""
        owned = self.owned.get(assignment.tp)
        return owned is not None and owned.assignment is assignment


COMMIT_TIMEOUT_S = 5.0
FENCED = (IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)


class Commits:
    """A gate that lets commits through while the member is joined.

    A commit that travels behind an outstanding JoinGroup is answered with IllegalGeneration, which forces another
    rebalance; in a group of several that never ends. So commits wait from `hold` to `let`.

    Holds at most: one commit under way.
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._one = asyncio.Lock()
        self._task: asyncio.Task[Any] | None = None

    async def hold(self) -> None:
        """Stop commits, because a JoinGroup is about to be sent; return when the running one has ended."""
        self._open.clear()
        async with self._one:
            pass

    def let(self) -> None:
        """Let commits through again, because the assignment has arrived."""
        self._open.set()

    def abandon(self) -> None:
        """Cancel the queued commit, which would be sent with the member id of the next membership."""
        if self._task is not None:
            self._task.cancel()

    async def commit(
        self, consumer: Any, points: Mapping[Assignment, CommitPoint], is_ours: Callable[[Assignment], bool]
    ) -> None:
        """See `RecordSource.commit`.

        Args:
            is_ours: asked when nothing can come between the answer and the sending any more.
        """
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await self._open.wait()
        except TimeoutError:
            raise KafkaUnavailable("could not commit: the group is rebalancing") from None
        async with self._one:
            if not self._open.is_set():
                raise KafkaUnavailable("could not commit: the group is rebalancing")
            if not all(map(is_ours, points)):
                raise CommitFenced("could not commit: a partition has moved meanwhile")
            offsets = {
                ClientPartition(*assignment.tp): OffsetAndMetadata(*point) for assignment, point in points.items()
            }
            self._task = asyncio.create_task(_send(consumer._coordinator, offsets))
            try:
                await self._finish(self._task)
            finally:
                self._task.cancel()
                self._task = None

    async def _finish(self, task: asyncio.Task[Any]) -> None:
        """Wait for a commit with a bound, because the library looks for a coordinator for ever."""
        try:
            with asking("commit"):
                async with asyncio.timeout(COMMIT_TIMEOUT_S):
                    await asyncio.wait([task])
                if task.cancelled():
                    raise CommitFenced("could not commit: the membership ended meanwhile")
                task.result()
        except KafkaUnavailable as error:
            if isinstance(error.__cause__, FENCED):
                raise CommitFenced("could not commit: the group has gone on without this member") from error
            if isinstance(error.__cause__, OffsetMetadataTooLargeError):
                raise MetadataTooLarge("could not commit: the offset map is larger than the broker allows") from error
            raise


async def _send(coordinator: Any, offsets: Mapping[Any, Any]) -> None:
    """Send a commit once, because the library's own `commit` retries for ever, and its cancelled request goes on unheard.

    A commit without a generation would be taken by a group that is empty, whatever others had committed meanwhile.
    """
    await coordinator.ensure_coordinator_known()
    if coordinator.generation < 0:
        raise IllegalGenerationError
    await coordinator._do_commit_offsets(None, offsets)
