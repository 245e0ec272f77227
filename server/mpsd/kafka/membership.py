"""Membership of a group: its lease, its partitions, and the client that has them."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

from mpsd.core.delivery import Assignment
from mpsd.core.record import TopicPartition
from mpsd.kafka.consumer import GroupSettings
from mpsd.kafka.positions import Positions

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
