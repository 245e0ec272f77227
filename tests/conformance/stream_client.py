"""The application's end of one stream, as the generated code gives it; the tests say every word of it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc
from grpc import aio

from mps.delivery.v1 import delivery_pb2 as v1
from tests.conformance.watch import PATIENCE_S

METHOD = "/mps.delivery.v1.Delivery/Subscribe"
UNBOUNDED = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))


class StreamClient:
    """One stream on a channel of its own.

    Args:
        metadata: sent with the call.
    """

    def __init__(self, address: str, metadata: Sequence[tuple[str, str]] = ()) -> None:
        self._channel = aio.insecure_channel(address, options=UNBOUNDED)
        self._writing = asyncio.Lock()
        self._call: Any = self._channel.stream_stream(METHOD)(metadata=tuple(metadata))

    async def open(
        self, subscription: str = "billing", *, client: str = "", records: int = 0, size: int = 0
    ) -> "StreamClient":
        credit = v1.Credit(records=records, bytes=size)
        await self.send(v1.SubscribeRequest(open=v1.Open(subscription=subscription, client=client, credit=credit)))
        return self

    async def send(self, request: v1.SubscribeRequest | bytes) -> None:
        """Write a frame, or what is none.

        Raises:
            EOFError: the stream has ended.
        """
        async with self._writing:
            try:
                await self._call.write(request if isinstance(request, bytes) else request.SerializeToString())
            except (aio.AioRpcError, asyncio.InvalidStateError) as error:
                raise EOFError from error

    async def ack(self, *ids: int) -> None:
        await self.send(v1.SubscribeRequest(settle=v1.Settle(acks=ids)))

    async def retry(self, delivery_id: int, delay_ms: int = 0, reason: str = "") -> None:
        retry = v1.Retry(delivery_id=delivery_id, delay_ms=delay_ms, reason=reason)
        await self.send(v1.SubscribeRequest(settle=v1.Settle(retries=[retry])))

    async def dead_letter(self, delivery_id: int, reason: str = "") -> None:
        dead_letter = v1.DeadLetter(delivery_id=delivery_id, reason=reason)
        await self.send(v1.SubscribeRequest(settle=v1.Settle(dead_letters=[dead_letter])))

    async def grant(self, records: int, size: int = 0) -> None:
        await self.send(v1.SubscribeRequest(credit=v1.Credit(records=records, bytes=size)))

    async def extend(self, *ids: int, lease_ms: int = 0) -> None:
        await self.send(v1.SubscribeRequest(extend=v1.Extend(delivery_ids=ids, lease_ms=lease_ms)))

    async def frame(self) -> v1.SubscribeResponse:
        """Return the next frame.

        Raises:
            EOFError: the stream has ended; `status` says how.
        """
        if self._call.cancelled():
            raise EOFError
        try:
            async with asyncio.timeout(PATIENCE_S):
                data = await self._call.read()
        except aio.AioRpcError as error:
            raise EOFError from error
        if data is aio.EOF:
            raise EOFError
        return v1.SubscribeResponse.FromString(data)

    async def next(self, kind: str) -> Any:
        """Return the next frame of this kind; skip frames of other kinds."""
        while True:
            frame = await self.frame()
            if frame.WhichOneof("frame") == kind:
                return getattr(frame, kind)

    async def records(self, count: int) -> list[v1.Record]:
        """So many, in however many frames."""
        found: list[v1.Record] = []
        while len(found) < count:
            found += (await self.next("records")).records
        return found

    async def status(self) -> grpc.StatusCode:
        """Wait for the end of the stream and return its status; gRPC has it only once all frames were read."""
        with suppress(EOFError):
            while True:
                await self.frame()
        async with asyncio.timeout(PATIENCE_S):
            code: grpc.StatusCode = await self._call.code()
        return code

    async def details(self) -> str:
        return str(await self._call.details())

    async def trailing(self) -> dict[str, Any]:
        return dict(await self._call.trailing_metadata() or ())

    async def half_close(self) -> None:
        """Nothing more will be sent."""
        await self._call.done_writing()

    async def abort(self) -> None:
        """Go away without a word."""
        self._call.cancel()
        await self._channel.close()

    async def close(self) -> None:
        await self._channel.close()
