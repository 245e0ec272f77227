"""One stream to one daemon, from `open` to its end.

A reader takes frames, a writer sends all verdicts and credit since its last write, and one timer extends leases and
notices silence. The work for a single record is to store its verdict.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc
import grpc.aio

from mps_client._stubs import delivery_pb2 as pb
from mps_client.errors import BadFrameError
from mps_client.frames import Rejection, credit_frame, decoded, extend_frames, open_frame, settle_frames
from mps_client.inbox import Inbox
from mps_client.record import Record
from mps_client.settings import Settings
from mps_client.statistics import Counters
from mps_client.verdicts import Retry, Verdict

OPEN_TIMEOUT_S = 10.0
"""Time limit from the connection to `opened`: name resolution, TLS handshake and answer included."""
SILENCES_MAX = 3
"""Number of keep-alive intervals without a frame after which the daemon counts as lost, as in the contract."""
LEASE_PARTS = 3
"""Part of a lease after which it is extended: a third, so that two frames may be late."""
CREDIT_PARTS = 4
"""Part of the credit that is granted again at a time: a quarter, or less if a worker waits."""
CLOSE_TIMEOUT_S = 5.0
"""Time in which a daemon must end a stream that the client has closed."""


class Stream:
    """One stream; call `run` once.

    Args:
        on_news: called when the stream opens, and after each change of `peers`.

    Attributes:
        unsettled: the deliveries that are not settled, by id, queued ones included.
        peers: the last addresses of daemons that this daemon advertised.
        is_open: True from `opened` until one side ends the stream.
        session: the id of the stream in the daemon's log; empty before `opened`.
    """

    def __init__(
        self, settings: Settings, call: Any, inbox: Inbox, counters: Counters, on_news: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._call = call
        self._inbox = inbox
        self._counters = counters
        self._on_news = on_news
        self._loop = asyncio.get_running_loop()
        self.unsettled: dict[int, Record] = {}
        self.peers: Sequence[str] = ()
        self.is_open = False
        self.session = ""
        self._is_ending = False  # no more credit; close when all records are settled
        self._is_left = False  # and ignore records that still arrive
        self._acks: list[int] = []
        self._rejections: list[Rejection] = []
        self._granted = settings.credit  # that the daemon has not used
        self._credit_due = 0
        self._credit_bytes_due = 0
        self._extend_due = False
        self._due = asyncio.Event()
        self._lost = ""
        self._lease_s = 0.0
        self._silence_max_s = OPEN_TIMEOUT_S
        self._received_s = self._loop.time()

    def __repr__(self) -> str:
        return f"<Stream {self.session or 'not open'} unsettled={len(self.unsettled)} granted={self._granted}>"

    async def run(self) -> None:
        """Run the stream to its end. The daemon delivers unsettled records again.

        Raises:
            grpc.aio.AioRpcError: the stream ended with this status.
            BadFrameError: the daemon broke the contract, or was silent.
        """
        writer = asyncio.create_task(self._write())
        self._timer = self._loop.call_later(self._silence_max_s, self._tick)
        try:
            while (frame := await self._call.read()) is not grpc.aio.EOF:
                self._received_s = self._loop.time()
                self._take(frame)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._lost or (task is not None and task.cancelling()):
                raise
            raise BadFrameError(self._lost) from None
        finally:
            self._timer.cancel()
            self._call.cancel()  # has no effect on a call that has ended
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self._end()

    def leave(self) -> None:
        """Return the queued records, ignore new ones, and close the stream when the running ones are settled."""
        if self._is_left:
            return
        self._is_left = self._is_ending = True
        self.is_open = False
        for record in self._inbox.withdraw(self.unsettled.values()):
            del self.unsettled[record.delivery_id]
            self._counters.withdrawn += 1
        self._due.set()

    def release_all(self) -> None:
        """Release all records without a verdict."""
        self.unsettled.clear()
        self._due.set()

    # verdicts of workers
    def settle(self, record: Record, verdict: Verdict | None) -> None:
        """Store the verdict on a record, as a `Holder`."""
        if not self._is_done(record):
            return
        if verdict is None:
            self._acks.append(record.delivery_id)
            self._counters.acked += 1
        else:
            self._rejections.append((record.delivery_id, verdict))
            if isinstance(verdict, Retry):
                self._counters.retried += 1
            else:
                self._counters.dead_lettered += 1
        if not self._due.is_set():
            self._due.set()

    def release(self, record: Record) -> None:
        """Stop to extend the lease of a record, as a `Holder`."""
        if self._is_done(record):
            self._due.set()

    def _is_done(self, record: Record) -> bool:
        if self.unsettled.pop(record.delivery_id, None) is None:  # the delivery has ended
            self._counters.unreported += 1
            self._inbox.release_key(record)
            return False
        self._credit_due += 1
        self._credit_bytes_due += record.size_bytes
        return True

    # frames from the daemon
    def _take(self, frame: pb.SubscribeResponse) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "records":
            self._receive(frame.records)
        elif kind == "opened":
            self._opened(frame.opened)
        elif kind == "peers":
            self.peers = tuple(frame.peers.addresses)
            self._on_news()
        elif kind == "drain":
            self._is_ending = True
            self.is_open = False
            self._due.set()
            self._on_news()
        elif kind == "stale":
            self._drop(frame.stale.delivery_ids)
        # `keep_alive` and frames of later versions need no answer

    def _opened(self, opened: pb.Opened) -> None:
        if self.session or not opened.lease_ms or not opened.keep_alive_ms:
            fault = "was opened again" if self.session else "was opened without a lease or a keep-alive"
            raise BadFrameError(f"the stream {fault}, which breaks the contract")
        self.session = opened.session or "unnamed"
        self.is_open = not self._is_left
        self._lease_s = opened.lease_ms / 1_000
        self._silence_max_s = SILENCES_MAX * opened.keep_alive_ms / 1_000
        self._timer.cancel()
        self._tick()
        self._on_news()

    def _receive(self, records: pb.Records) -> None:
        if not self.session:
            raise BadFrameError("records came before the stream was opened, which breaks the contract")
        if self._is_left:
            return  # the daemon delivers them again when the stream is closed
        self._granted -= len(records.records)
        if self._granted < 0:
            raise BadFrameError(f"{-self._granted} records came beyond the credit, which breaks the contract")
        arrived = decoded(records, self.unsettled, self)
        self.unsettled.update(arrived)
        self._counters.received += len(arrived)
        self._inbox.put(list(arrived.values()))

    def _drop(self, delivery_ids: Iterable[int]) -> None:
        """Drop deliveries that the daemon has ended: queued ones are withdrawn, running ones keep their keys waiting."""
        ended = [self.unsettled[delivery_id] for delivery_id in delivery_ids if delivery_id in self.unsettled]
        for record in ended:
            del self.unsettled[record.delivery_id]
            self._credit_due += 1
            self._credit_bytes_due += record.size_bytes
        self._abandon(ended)
        self._due.set()

    def _abandon(self, records: Iterable[Record]) -> None:
        ended = list(records)
        withdrawn = self._inbox.withdraw(ended)
        self._counters.withdrawn += len(withdrawn)
        self._inbox.hold_back(record for record in ended if record not in withdrawn)

    # frames to the daemon
    async def _write(self) -> None:
        settings = self._settings
        try:
            credit = settings.credit, settings.credit_bytes
            await self._call.write(open_frame(settings.subscription, settings.client, *credit))
            while not (self._is_ending and not self.unsettled and not self._due.is_set()):
                await self._due.wait()
                self._due.clear()
                for frame in self._frames():
                    await self._call.write(frame)
            await self._call.done_writing()
            await asyncio.sleep(CLOSE_TIMEOUT_S)
            self._give_up(f"the daemon did not end a closed stream within {CLOSE_TIMEOUT_S:g} s")
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            pass  # the call has ended, and the reader reports why

    def _frames(self) -> list[pb.SubscribeRequest]:
        """Return the frames that are due: verdicts, credit and extended leases."""
        acks, self._acks = self._acks, []
        rejections, self._rejections = self._rejections, []
        frames = list(settle_frames(acks, rejections))
        if not self._is_ending and (
            self._credit_due * CREDIT_PARTS >= self._settings.credit or (self._credit_due and self._inbox.is_starved)
        ):
            frames.append(credit_frame(self._credit_due, self._credit_bytes_due if self._settings.credit_bytes else 0))
            self._granted += self._credit_due
            self._credit_due = self._credit_bytes_due = 0
        if self._extend_due:
            self._extend_due = False
            frames += extend_frames(list(self.unsettled))
        return frames

    # time
    def _tick(self) -> None:
        """Extend leases, and give the stream up if the daemon is silent."""
        silence_s = self._loop.time() - self._received_s
        if silence_s >= self._silence_max_s:
            self._give_up(f"the daemon was silent for {silence_s:.1f} s")
            return
        if self.unsettled:
            self._extend_due = True
            self._due.set()
        pause_s = min(self._silence_max_s - silence_s, self._lease_s / LEASE_PARTS if self._lease_s else OPEN_TIMEOUT_S)
        self._timer = self._loop.call_later(pause_s, self._tick)

    def _give_up(self, why: str) -> None:
        self._lost = self._lost or why
        self._call.cancel()

    def _end(self) -> None:
        """End all deliveries, as the daemon does: queued ones are withdrawn, running ones keep their keys waiting."""
        self.is_open = False
        self._counters.unreported += len(self._acks) + len(self._rejections)
        self._abandon(self.unsettled.values())
        self.unsettled.clear()
