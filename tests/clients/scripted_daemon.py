"""A real gRPC server that speaks the contract of streams as a test tells it to, nonsense included."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from mps.delivery.v1 import delivery_pb2 as pb
from mps.delivery.v1.delivery_pb2_grpc import DeliveryServicer, add_DeliveryServicer_to_server

LEASE_MS = 30_000
KEEP_ALIVE_MS = 10_000


class Accepted:
    """One stream of a client; what the client said is noted as it comes.

    Attributes:
        credit: records granted so far, the first grant included.
        settled: what was said of each delivery, in order: "ack", a `Retry` or a `DeadLetter`.
    """

    def __init__(self, metadata: dict[str, str]) -> None:
        self.metadata = metadata
        self.open = pb.Open()
        self.credit = self.credit_bytes = 0
        self.settled: dict[int, Any] = {}
        self.extended: list[int] = []
        self.settle_frames = self.credit_frames = 0
        self.half_closed = asyncio.Event()
        self.over = asyncio.Event()
        self._out: asyncio.Queue[pb.SubscribeResponse | grpc.StatusCode | None] = asyncio.Queue()

    # what the test says
    def send(self, frame: pb.SubscribeResponse) -> None:
        self._out.put_nowait(frame)

    def opened(self, lease_ms: int = LEASE_MS, keep_alive_ms: int = KEEP_ALIVE_MS) -> None:
        self.send(pb.SubscribeResponse(opened=pb.Opened(session="s", lease_ms=lease_ms, keep_alive_ms=keep_alive_ms)))

    def records(self, *records: pb.Record) -> None:
        self.send(pb.SubscribeResponse(records=pb.Records(records=records)))

    def peers(self, *addresses: str) -> None:
        self.send(pb.SubscribeResponse(peers=pb.Peers(addresses=addresses)))

    def drain(self) -> None:
        self.send(pb.SubscribeResponse(drain=pb.Drain(deadline_ms=5_000, reason="a test")))

    def stale(self, *delivery_ids: int) -> None:
        self.send(pb.SubscribeResponse(stale=pb.Stale(delivery_ids=delivery_ids)))

    def end(self, code: grpc.StatusCode | None = None) -> None:
        self._out.put_nowait(code)

    # what the server does with it
    async def listen(self, frames: AsyncIterator[pb.SubscribeRequest]) -> None:
        async for frame in frames:
            kind = frame.WhichOneof("frame")
            if kind == "credit":
                self.credit_frames += 1
                self._grant(frame.credit)
            elif kind == "settle":
                self.settle_frames += 1
                self._settle(frame.settle)
            elif kind == "extend":
                self.extended += frame.extend.delivery_ids
        self.half_closed.set()

    async def frames(self) -> AsyncIterator[pb.SubscribeResponse | grpc.StatusCode]:
        while (frame := await self._out.get()) is not None:
            yield frame

    def begin(self, given: pb.Open) -> None:
        self.open = given
        self._grant(given.credit)

    def _grant(self, credit: pb.Credit) -> None:
        self.credit += credit.records
        self.credit_bytes += credit.bytes

    def _settle(self, settle: pb.Settle) -> None:
        said: list[tuple[int, Any]] = [(each, "ack") for each in settle.acks]
        said += [(each.delivery_id, each) for each in settle.retries]
        said += [(each.delivery_id, each) for each in settle.dead_letters]
        for delivery_id, verdict in said:
            assert delivery_id not in self.settled, "settled twice"
            self.settled[delivery_id] = verdict


class ScriptedDaemon(DeliveryServicer):
    """Use `scripted_daemon`.

    Args:
        refusal: what every stream ends with, if anything.
        on_open: called with each stream; opens it if not given.
    """

    def __init__(self, refusal: grpc.StatusCode | None, on_open: Callable[[Accepted], None]) -> None:
        self.refusal = refusal
        self.on_open = on_open
        self.streams: list[Accepted] = []
        self.port = 0
        self._arrived: asyncio.Queue[Accepted] = asyncio.Queue()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def accepted(self) -> Accepted:
        """Return the next stream."""
        return await asyncio.wait_for(self._arrived.get(), 20)

    async def Subscribe(self, request_iterator: Any, context: Any) -> Any:  # type: ignore[explicit-override]
        stream = Accepted(dict(context.invocation_metadata()))
        stream.begin((await anext(request_iterator)).open)
        self.streams.append(stream)
        self._arrived.put_nowait(stream)
        if self.refusal is not None:
            await context.abort(self.refusal, "a test refuses")
        self.on_open(stream)
        listener = asyncio.create_task(stream.listen(request_iterator))
        listener.add_done_callback(lambda task: stream.end() if not task.cancelled() and not task.exception() else None)
        try:
            async for frame in stream.frames():
                if isinstance(frame, grpc.StatusCode):
                    await context.abort(frame, "a test ends it")
                yield frame
        finally:
            listener.cancel()
            stream.over.set()


@asynccontextmanager
async def scripted_daemon(
    refusal: grpc.StatusCode | None = None,
    on_open: Callable[[Accepted], None] = Accepted.opened,
    port: int = 0,
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[ScriptedDaemon]:
    """Listen within the context; cut all streams at its end."""
    daemon = ScriptedDaemon(refusal, on_open)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_DeliveryServicer_to_server(daemon, server)  # type: ignore[no-untyped-call,unused-ignore]
    address = f"127.0.0.1:{port}"
    daemon.port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    try:
        yield daemon
    finally:
        await server.stop(None)


def given(delivery_id: int, key: bytes | None = None, value: bytes | None = b"v", **fields: Any) -> pb.Record:
    """Return a record on the wire, with a key of its own if none is given."""
    key = f"k{delivery_id}".encode() if key is None else key
    place = {"topic": "orders", "partition": 0, "offset": delivery_id, "attempt": 1, "timestamp_ms": 0, **fields}
    return pb.Record(delivery_id=delivery_id, key=key, value=value, **place)


def many(first: int, count: int) -> Sequence[pb.Record]:
    return [given(delivery_id) for delivery_id in range(first, first + count)]
