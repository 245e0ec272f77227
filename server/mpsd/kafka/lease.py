"""How long this member may still start deliveries: until the broker could have given its partitions away."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

MEMBERSHIP_LOST = {22, 25}
"""IllegalGeneration and UnknownMemberId."""


HEARTBEATS_PER_SESSION = 3
"""A heartbeat without an answer for this part of the session: another broker may be the coordinator by now."""


def boottime_s() -> float:
    """A clock that runs while the process, or the machine, is stopped, where the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """Renewed by every heartbeat, join and sync that is answered without an error, counted from its sending.

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
        """See every request of the membership; before the consumer subscribes, so that none is missed."""
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
        """The coordinator has answered what was sent then."""
        if error_code == 0:
            self._end_s = max(self._end_s, sent_s + self._length_s)
        elif error_code in MEMBERSHIP_LOST:
            self.end()

    def end(self) -> None:
        """The membership is over."""
        self._end_s = 0.0

    def left_s(self) -> float:
        """0 or less: no delivery may start."""
        return self._end_s - self._clock_s()
