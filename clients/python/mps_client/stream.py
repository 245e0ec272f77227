"""One stream to one daemon, from `open` to its end.

A reader takes frames, a writer sends what has come together since its last write, and one timer looks after leases and
silence. Nothing is done for a single record but to note what became of it.
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
"""From dialling to `opened`: name, connection, TLS handshake and answer."""
SILENCES_MAX = 3
"""Of the longest silence that the daemon has promised, before it is taken to be gone (the contract's number)."""
LEASE_PARTS = 3
"""A lease is extended after a third of it, so that two frames may be late."""
CREDIT_PARTS = 4
"""Credit is given back in quarters, or when a worker waits."""
CLOSE_TIMEOUT_S = 5.0
"""How long a daemon may take to end a stream that was half-closed."""


class Stream:
    """Use `run` once.

    Args:
        on_news: called when it opened, and with every change of `peers`.

    Attributes:
        held: deliveries that are not settled, by id; queued ones among them.
        peers: where the daemons are, as this one last said.
        is_open: from `opened` on, until no more records are wanted or to be had.
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
        self.held: dict[int, Record] = {}
        self.peers: Sequence[str] = ()
        self.is_open = False
        self.session = ""
        self._is_ending = False  # settle what is held, then half-close
        self._is_left = False  # and what comes still is not taken
        self._acks: list[int] = []
        self._rejections: list[Rejection] = []
        self._granted = settings.credit  # and not yet used by the daemon
        self._credit_due = 0
        self._credit_bytes_due = 0
        self._extend_due = False
        self._due = asyncio.Event()
        self._lost = ""
        self._lease_s = 0.0
        self._silence_max_s = OPEN_TIMEOUT_S
        self._heard_s = self._loop.time()

    def __repr__(self) -> str:
        return f"<Stream {self.session or 'not open'} held={len(self.held)} granted={self._granted}>"

    async def run(self) -> None:
        """Until it is over; whatever is still held then is delivered elsewhere.

        Raises:
            grpc.aio.AioRpcError: it ended with this status.
            BadFrameError: the daemon broke the contract, or was silent.
        """
        writer = asyncio.create_task(self._write())
        self._timer = self._loop.call_later(self._silence_max_s, self._tick)
        try:
            while (frame := await self._call.read()) is not grpc.aio.EOF:
                self._heard_s = self._loop.time()
                self._take(frame)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._lost or (task is not None and task.cancelling()):
                raise
            raise BadFrameError(self._lost) from None
        finally:
            self._timer.cancel()
            self._call.cancel()  # of a call that is over already: nothing
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self._end()

    def leave(self) -> None:
        """Give back what no worker has, take nothing more, settle the rest, close. Call it again, nothing happens."""
        if self._is_left:
            return
        self._is_left = self._is_ending = True
        self.is_open = False
        for record in self._inbox.withdraw(self.held.values()):
            del self.held[record.delivery_id]
            self._counters.withdrawn += 1
        self._due.set()

    def release_all(self) -> None:
        """Whoever has these will not settle them."""
        self.held.clear()
        self._due.set()

    # what workers say
    def settle(self, record: Record, verdict: Verdict | None) -> None:
        """Part of `Holder`."""
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
        """Part of `Holder`: its lease is extended no more."""
        if self._is_done(record):
            self._due.set()

    def _is_done(self, record: Record) -> bool:
        if self.held.pop(record.delivery_id, None) is None:  # the stream was faster
            self._counters.unsaid += 1
            self._inbox.release_key(record)
            return False
        self._credit_due += 1
        self._credit_bytes_due += record.size_bytes
        return True

    # what the daemon says
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
        # `keep_alive` and what later versions may say need no answer

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
            return  # they come again, to others, when the stream is closed
        self._granted -= len(records.records)
        if self._granted < 0:
            raise BadFrameError(f"{-self._granted} records came beyond the credit, which breaks the contract")
        arrived = decoded(records, self.held, self)
        self.held.update(arrived)
        self._counters.received += len(arrived)
        self._inbox.put(list(arrived.values()))

    def _drop(self, delivery_ids: Iterable[int]) -> None:
        """Drop deliveries that the daemon has ended: queued ones are withdrawn, running ones keep their keys waiting."""
        gone = [self.held[delivery_id] for delivery_id in delivery_ids if delivery_id in self.held]
        for record in gone:
            del self.held[record.delivery_id]
            self._credit_due += 1
            self._credit_bytes_due += record.size_bytes
        self._abandon(gone)
        self._due.set()

    def _abandon(self, gone: Iterable[Record]) -> None:
        gone = list(gone)
        withdrawn = self._inbox.withdraw(gone)
        self._counters.withdrawn += len(withdrawn)
        self._inbox.hold_back(record for record in gone if record not in withdrawn)

    # what it says to the daemon
    async def _write(self) -> None:
        settings = self._settings
        try:
            credit = settings.credit, settings.credit_bytes
            await self._call.write(open_frame(settings.subscription, settings.client, *credit))
            while not (self._is_ending and not self.held and not self._due.is_set()):
                await self._due.wait()
                self._due.clear()
                for frame in self._frames():
                    await self._call.write(frame)
            await self._call.done_writing()
            await asyncio.sleep(CLOSE_TIMEOUT_S)
            self._give_up(f"the daemon did not end a closed stream within {CLOSE_TIMEOUT_S:g} s")
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            pass  # the call is over, and the reader says why

    def _frames(self) -> list[pb.SubscribeRequest]:
        """All that is to be said now."""
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
            frames += extend_frames(list(self.held))
        return frames

    # time
    def _tick(self) -> None:
        """Extend leases, and see whether the daemon is still there."""
        silence_s = self._loop.time() - self._heard_s
        if silence_s >= self._silence_max_s:
            self._give_up(f"the daemon was silent for {silence_s:.1f} s")
            return
        if self.held:
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
        unsaid = len(self._acks) + len(self._rejections)
        self._counters.unsaid += unsaid
        self._abandon(self.held.values())
        self.held.clear()
