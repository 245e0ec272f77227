"""The delivery port over gRPC streams that applications open."""

import asyncio
from collections.abc import Callable, Sequence

from mps.delivery.v1.delivery_pb2 import Open
from mpsd.config import Stream, StreamDelivery, idempotency_header
from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.idempotency import IdempotencyKeys
from mpsd.core.outcome import Outcome, Withdrawn
from mpsd.delivery.stream.session import Client, Session, SessionStatistics
from mpsd.delivery.stream.streams import Streams
from mpsd.delivery.stream.wire import RecordWriter
from mpsd.listeners.reach import reachable
from mpsd.ports import AdapterStatistics, Demand, Peer

END_S = 1.0
"""Time that streams have at the end to be told that it is the end; one that does not read is cut by the listener."""
COUNTED = (
    "opened",
    "closed",
    "lost",
    "records",
    "lease_expired",
    "stale_acks",
    "stale_retries",
    "stale_dead_letters",
    "stale_extends",
)


class StreamAdapter:
    """Sends records on the streams of one subscription.

    Takes: deliveries, as many as its streams have credit.
    Gives: one outcome for each, as clients settle them, or as leases and streams end.
    Holds at most: `concurrency_max` deliveries.

    Args:
        may_start: whether a delivery may start now; asked for records that are about to be sent, as they may have waited.
    """

    def __init__(
        self,
        subscription: str,
        delivery: StreamDelivery,
        stream: Stream,
        network: str = "",
        *,
        may_start: Callable[[], bool] = lambda: True,
    ) -> None:
        self.subscription = subscription
        self.settings = delivery
        self._stream = stream
        self._network = network
        self._may_start = may_start
        self._keys = IdempotencyKeys(idempotency_header(delivery.idempotency_key))
        self._streams: Streams | None = None
        self._peers: Sequence[str] = ()
        self._is_closed = False

    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        """See `DeliveryAdapter`; streams may be opened from now on."""
        writer = RecordWriter(self._keys, self.settings.content_type)
        self._streams = Streams(self.settings, self._stream, on_demand, settle, self._may_start, writer)

    def demand(self) -> Demand:
        streams = self._streams
        if streams is None or self._is_closed:
            return Demand(0, 0)
        free = min(streams.spread.free, self.settings.concurrency_max - streams.in_flight)
        return Demand(free, streams.spread.bytes_free()) if free > 0 else Demand(0, 0)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """See `DeliveryAdapter`."""
        assert self._streams is not None
        assert not self._is_closed
        assert len(batch) <= self._streams.spread.free
        self._streams.assign(batch)

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        """See `DeliveryAdapter`; what was not sent yet is withdrawn at once. Cancelled, it leaves the rest in flight."""
        if self._streams is not None:
            await self._drain(self._streams, assignment, deadline_s)

    async def close(self, deadline_s: float) -> None:
        """See `DeliveryAdapter`; clients are told, and their streams end when nothing is in flight."""
        was_closed, self._is_closed = self._is_closed, True
        if was_closed or self._streams is None:
            return
        streams = self._streams
        for session in streams.sessions.values():
            session.drain(deadline_s, "the daemon shuts down")
            streams.spread.count(session)
        await self._drain(streams, None, deadline_s)
        for session in streams.sessions.values():
            session.end()
        try:
            async with asyncio.timeout(END_S):
                await streams.all_gone.wait()
        except TimeoutError:
            for session in list(streams.sessions.values()):
                streams.closed(session)
        streams.stop()

    def on_peers(self, peers: Sequence[Peer]) -> None:
        """See `DeliveryAdapter`; told to every stream, now and when it is opened."""
        network = self._network
        addresses = sorted({peer.stream for peer in peers if reachable(peer, peer.stream, network)})
        if addresses != self._peers:
            self._peers = addresses
            for session in self._streams.sessions.values() if self._streams is not None else ():
                session.tell_peers(addresses)

    def open(self, opening: Open, client: Client) -> tuple[Streams, Session] | None:
        """Open a stream for a client; return None before the start and after the end.

        Args:
            opening: checked.
        """
        if self._streams is None or self._is_closed:
            return None
        return self._streams, self._streams.open(opening, client, self._peers)

    def sessions(self) -> Sequence[SessionStatistics]:
        """Return the open streams."""
        if self._streams is None:
            return []
        now_s = asyncio.get_running_loop().time()
        return [session.statistics(now_s) for session in self._streams.sessions.values()]

    def statistics(self) -> AdapterStatistics:
        streams = self._streams
        if streams is None:
            return AdapterStatistics({"in_flight": 0, "sessions": 0})
        numbers = {
            "in_flight": streams.in_flight,
            "sessions": len(streams.sessions),
            "credit": streams.spread.free,
            "unsent": sum(session.unsettled.unsent for session in streams.sessions.values()),
            **{name: streams.counts[name] for name in COUNTED},
        }
        return AdapterStatistics(numbers, self._keys.fallbacks())

    async def _drain(self, streams: Streams, assignment: Assignment | None, deadline_s: float) -> None:
        streams.withdraw_unsent(assignment)
        try:
            async with asyncio.timeout(deadline_s):
                await streams.drained(assignment)
        except TimeoutError:
            streams.withdraw(
                assignment, Withdrawn(reason=f"not settled {deadline_s} s after its partition was revoked")
            )
