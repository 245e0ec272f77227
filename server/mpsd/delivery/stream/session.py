"""One stream: what the client may be sent, what it holds, and what it is to be told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from typing_extensions import override

from mps.delivery.v1.delivery_pb2 import Drain, KeepAlive, Opened, Peers, Stale, SubscribeResponse
from mpsd.config import Stream, StreamDelivery
from mpsd.core.delivery import Delivery
from mpsd.delivery.stream.requests import CREDIT_BYTES_MAX, CREDIT_RECORDS_MAX
from mpsd.delivery.stream.unsettled import Unsettled
from mpsd.delivery.stream.wire import RecordWriter, frame, payload_bytes

STALE_IDS_MAX = 10_000
"""Ids that wait to be named in a `stale` frame; of more the client is not told, though they are counted."""

KEEP_ALIVE = SubscribeResponse(keep_alive=KeepAlive()).SerializeToString()


class Client(NamedTuple):
    """The client of a stream: its name and its address."""

    name: str
    peer: str


class SessionStatistics(NamedTuple):
    """One stream, for operators.

    Attributes:
        unsettled: records it holds, those on their way included.
        credit: records it may still be sent.
        age_s: how long it has been open.
    """

    session: str
    client: str
    peer: str
    unsettled: int
    credit: int
    age_s: float


class Session:
    """Gathers what is ready into frames, one write at a time.

    Takes: deliveries within its credit.
    Gives: frames.
    Holds at most: as many deliveries as it has credit; one frame; `STALE_IDS_MAX` ids.

    Attributes:
        credit: records that may still be assigned to it.
        free: as the spread counts it: no credit while the stream ends or is stuck.
    """

    __slots__ = (
        "_bytes_left",
        "_drain",
        "_is_keep_alive_due",
        "_is_over",
        "_is_stuck",
        "_lease_s",
        "_opened_s",
        "_out",
        "_peers",
        "_sleeper",
        "_stale",
        "_stream",
        "_writer",
        "_written_s",
        "bytes_queued",
        "client",
        "credit",
        "free",
        "is_half_closed",
        "name",
        "served",
        "unsettled",
    )

    def __init__(
        self,
        name: str,
        client: Client,
        delivery: StreamDelivery,
        stream: Stream,
        writer: RecordWriter,
        now_s: float,
    ) -> None:
        self.name = name
        self.client = client
        self._lease_s = delivery.lease_s
        self._stream = stream
        self._writer = writer
        self.unsettled = Unsettled(delivery.lease_s, delivery.lease_total_max_s)
        self.credit = 0
        self._bytes_left: int | None = None
        self.bytes_queued = 0
        self.free = 0
        self.served = 0
        self._opened_s = self._written_s = now_s
        self._out: list[bytes] = []
        self._peers = b""
        self._drain = b""
        self._stale: list[int] = []
        self._is_keep_alive_due = False
        self.is_half_closed = False
        self._is_over = False
        self._is_stuck = False
        self._sleeper: asyncio.Future[None] | None = None
        self._out.append(self._opened())

    @override
    def __repr__(self) -> str:
        return f"<Session {self.name} unsettled={len(self.unsettled)} credit={self.credit}>"

    # what it may be sent
    @property
    def is_limited_in_bytes(self) -> bool:
        return self._bytes_left is not None

    @property
    def bytes_free(self) -> int:
        """Bytes that may still be assigned; may be below 0, as one record may pass it."""
        return CREDIT_BYTES_MAX if self._bytes_left is None else self._bytes_left - self.bytes_queued

    @property
    def is_taking(self) -> bool:
        """Return True if the stream takes records within its credit."""
        return not (self._is_stuck or self.is_half_closed or self._is_over or self._drain)

    def takes(self) -> int:
        """Return the number of records that may be assigned to the stream now."""
        return self.credit if self.is_taking and self.bytes_free > 0 else 0

    def grant(self, records: int, size: int) -> None:
        """Add credit, up to the bounds."""
        self.credit = min(self.credit + records, CREDIT_RECORDS_MAX)
        if size:
            self._bytes_left = min((self._bytes_left or 0) + size, CREDIT_BYTES_MAX)
            self._wake()

    def assign(self, deliveries: Sequence[Delivery], now_s: float) -> None:
        """Send these when the last write is through."""
        self.credit -= len(deliveries)
        if self._bytes_left is not None:
            self.bytes_queued += sum(payload_bytes(delivery.record) for delivery in deliveries)
        self.unsettled.assign(deliveries, now_s)
        self._wake()

    def take_back(self, delivery_id: int) -> Delivery:
        """Take a delivery from the client; return the credit of an unsent one."""
        was_sent = delivery_id <= self.unsettled.sent_id
        delivery = self.unsettled.take(delivery_id)
        if not was_sent:
            self.credit += 1
            if self._bytes_left is not None:
                self.bytes_queued = max(0, self.bytes_queued - payload_bytes(delivery.record))
        return delivery

    # what it is told
    def tell_peers(self, peers: Sequence[str]) -> None:
        self._peers = SubscribeResponse(peers=Peers(addresses=peers)).SerializeToString()
        self._wake()

    def tell_stale(self, ids: Sequence[int]) -> None:
        """Tell the client that deliveries are stale."""
        self._stale += ids[: STALE_IDS_MAX - len(self._stale)]
        self._wake()

    def drain(self, deadline_s: float, reason: str) -> None:
        """Assign no record to this stream from now on."""
        drain = Drain(deadline_ms=min(int(deadline_s * 1000), 3_600_000), reason=reason)
        self._drain = SubscribeResponse(drain=drain).SerializeToString()
        self._out.append(self._drain)
        self._wake()

    def look_after(self, now_s: float, sweep_s: float) -> None:
        """Send a keep-alive before the silence is too long."""
        if now_s - self._written_s + sweep_s >= self._stream.keep_alive_s:
            self._is_keep_alive_due = True
            self._wake()

    def stuck(self) -> None:
        """Assign nothing until something moves, because a record could not be sent within its lease."""
        self._is_stuck = True

    # its end
    def half_close(self) -> None:
        """Note that the client sends nothing more; a last frame shows if it is still there."""
        self.is_half_closed = True
        self._wake()

    def end(self) -> None:
        """Write what it is to be told, and no more records."""
        self._is_over = True
        self._wake()

    async def write_frames(
        self,
        write: Callable[[bytes], Awaitable[None]],
        may_send: Callable[["Session"], bool],
        moved: Callable[["Session"], None],
    ) -> None:
        """Write whatever is ready, until the stream is to end.

        Args:
            may_send: whether the records that wait may go, asked for each frame of them.
            moved: told when a stuck stream is no longer.
        """
        loop = asyncio.get_running_loop()
        while True:
            if next_frame := self._next_frame(may_send):
                self._written_s = loop.time()
                await write(next_frame)
                if self._is_stuck:
                    self._is_stuck = False
                    moved(self)
            elif self.is_half_closed:
                return await write(KEEP_ALIVE)
            elif self._is_over:
                return None
            else:
                self._sleeper = loop.create_future()
                await self._sleeper

    def _next_frame(self, may_send: Callable[["Session"], bool]) -> bytes:
        """Return the next frame: messages about the stream first, then records; empty if there is none."""
        if self._out:
            return self._out.pop(0)
        if self._peers:
            peers, self._peers = self._peers, b""
            return peers
        if self._stale:
            stale, self._stale = self._stale, []
            return SubscribeResponse(stale=Stale(delivery_ids=stale)).SerializeToString()
        may = self.unsettled.unsent and not (self._is_over or self.is_half_closed) and may_send(self)
        if may and (records := self._records()):
            return records
        if self._is_keep_alive_due:
            self._is_keep_alive_due = False
            return KEEP_ALIVE
        return b""

    def _records(self) -> bytes:
        """Return a frame of the records that are ready and within the credit of bytes; empty if there is none."""
        self._is_keep_alive_due = False
        unsettled, write, room = self.unsettled, self._writer.write, self._stream.frame_bytes_max
        records: list[bytes] = []
        size = 0
        while (following := unsettled.next_unsent()) is not None:
            delivery_id, delivery = following
            if self._bytes_left is not None and not self._spend(delivery):
                break
            written = write(delivery_id, delivery)
            if size and size + len(written) > room:
                self._give_back(delivery)
                break
            unsettled.sending()
            records.append(written)
            size += len(written)
        return frame(records, size) if records else b""

    def _spend(self, delivery: Delivery) -> bool:
        """Return True if the credit of bytes allows a record; one greater than the rest goes alone."""
        left = self._bytes_left or 0
        size = payload_bytes(delivery.record)
        if size > left and (left <= 0 or self.unsettled.sent):
            return False
        self._bytes_left = left - size
        self.bytes_queued -= size
        return True

    def _give_back(self, delivery: Delivery) -> None:
        """Return the credit of a record that did not fit into the frame."""
        if self._bytes_left is not None:
            size = payload_bytes(delivery.record)
            self._bytes_left += size
            self.bytes_queued += size

    def _opened(self) -> bytes:
        lease_ms, keep_alive_ms = max(1, int(self._lease_s * 1000)), int(self._stream.keep_alive_s * 1000)
        opened = Opened(session=self.name, lease_ms=lease_ms, keep_alive_ms=keep_alive_ms)
        return SubscribeResponse(opened=opened).SerializeToString()

    def settled(self) -> None:
        """Note that records were settled, because a record that goes alone may be sent now."""
        if self._bytes_left is not None and self.unsettled.unsent:
            self._wake()

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def statistics(self, now_s: float) -> SessionStatistics:
        return SessionStatistics(
            session=self.name,
            client=self.client.name,
            peer=self.client.peer,
            unsettled=len(self.unsettled),
            credit=self.credit,
            age_s=now_s - self._opened_s,
        )
