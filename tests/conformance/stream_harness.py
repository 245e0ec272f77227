"""The stream adapter behind its listener, and an application that dials in."""

import asyncio
from contextlib import AsyncExitStack, suppress

import grpc
from typing_extensions import override

from mps.delivery.v1 import delivery_pb2 as v1
from mpsd.config import Stream, StreamDelivery
from mpsd.delivery.stream.adapter import StreamAdapter
from mpsd.delivery.stream.servicer import DeliveryServicer
from mpsd.listeners.address import address_of, bind
from mpsd.listeners.grpc import bounded_server, serving_grpc
from mpsd.ports import DeliveryAdapter
from tests.conformance.harness import LeasingHarness, Reaction, Received
from tests.conformance.stream_client import StreamClient

REACTIONS = frozenset(Reaction) - {Reaction.ASK_FOR_LESS, Reaction.SAY_UNAVAILABLE}


class StreamHarness(LeasingHarness):
    """An application with one stream; one that ended is replaced by a new one, until it is stopped."""

    reactions = REACTIONS
    lost_reactions = frozenset({Reaction.GO_AWAY, Reaction.TALK_NONSENSE})

    def __init__(self) -> None:
        super().__init__()
        self._stack = AsyncExitStack()
        self._credit = 0
        self._hanging: dict[int, None] = {}
        self._over: list[int] = []
        self.client: StreamClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @override
    async def start(self, *, concurrency_max: int, timeout_s: float) -> StreamAdapter:
        self._credit = concurrency_max
        delivery = StreamDelivery(
            protocol="stream",
            concurrency_max=concurrency_max,
            lease_s=timeout_s,
            lease_total_max_s=self.lease_total_max_s,
        )
        adapter = StreamAdapter("billing", delivery, Stream())
        listener = bind("stream", "127.0.0.1:0")
        self._address = address_of(listener)
        server = bounded_server()
        DeliveryServicer({"billing": adapter}, {"other"}, 100).add_to(server)
        await self._stack.enter_async_context(serving_grpc("stream", server, listener, close_s=0.0))
        return adapter

    @override
    async def ready(self, adapter: DeliveryAdapter) -> None:
        self._task = asyncio.create_task(self._run())

    @override
    def release(self) -> None:
        ids, self._hanging = list(self._hanging), {}
        self._do_settle(v1.Settle(acks=ids), len(ids))

    @override
    async def settle_late(self) -> None:
        assert self.client is not None
        await self.client.ack(*self._over)

    @override
    async def extend(self, lease_s: float) -> None:
        assert self.client is not None
        await self.client.extend(*self._hanging, lease_ms=int(lease_s * 1000))

    @override
    async def stop(self) -> None:
        for task in (self._task, *self._tasks):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._task = None
        if self.client is not None:
            await self.client.abort()
            self.client = None
        await self._stack.aclose()

    async def _run(self) -> None:
        while True:
            self.client = StreamClient(self._address)
            try:
                await self.client.open(records=self._credit)
                while True:
                    await self._on_frame(await self.client.frame())
            except EOFError:
                if await self.client.status() is grpc.StatusCode.UNAVAILABLE:
                    return
            finally:
                await self.client.abort()
                for _ in self._hanging:
                    self.went()
                self._hanging.clear()

    async def _on_frame(self, frame: v1.SubscribeResponse) -> None:
        self.drained = self.drained or frame.HasField("drain")
        for delivery_id in frame.stale.delivery_ids:
            if delivery_id in self._hanging:
                del self._hanging[delivery_id]
                self._over.append(delivery_id)
                self.went()
                self._do_settle(v1.Settle(), 1)
            else:
                self.stale += 1
        for record in frame.records.records:
            self.came(_received(record))
            self._hanging[record.delivery_id] = None
        self.watch.changed()
        if frame.HasField("records") and self.reaction is not Reaction.HANG:
            await self._react(frame.records.records[0])

    async def _react(self, first: v1.Record) -> None:
        """To every record that it has."""
        assert self.client is not None
        if self.reaction is Reaction.GO_AWAY:
            await self.client.abort()
            raise EOFError
        if self.reaction is Reaction.TALK_NONSENSE:
            await self.client.send(b"\xff* OK IMAP4 ready")
            while True:
                await self.client.frame()
        ids, self._hanging = list(self._hanging), {}
        match self.reaction:
            case Reaction.ASK_TO_RETRY:
                settle = v1.Settle(retries=[v1.Retry(delivery_id=each, reason="try again") for each in ids])
            case Reaction.REJECT:
                settle = v1.Settle(dead_letters=[v1.DeadLetter(delivery_id=each, reason="never") for each in ids])
            case _:
                settle = v1.Settle(acks=ids)
        await self._settle(settle, len(ids))

    def _do_settle(self, settle: v1.Settle, count: int) -> None:
        self._tasks.add(task := asyncio.create_task(self._settle(settle, count)))
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, settle: v1.Settle, count: int) -> None:
        assert self.client is not None
        if settle.ByteSize():
            for _ in range(count):
                self.went()
        with suppress(EOFError):
            if settle.ByteSize():
                await self.client.send(v1.SubscribeRequest(settle=settle))
            await self.client.grant(count)


def _received(record: v1.Record) -> Received:
    return Received(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key if record.HasField("key") else None,
        value=record.value if record.HasField("value") else None,
        attempt=record.attempt,
        epoch=record.epoch,
    )
