"""Applications that connect to the daemon by stream or pull, with the least work per record.

They run in the process of the sink and count in its figures, so that all protocols are measured alike.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

from grpc import aio

from mps.delivery.v1 import delivery_pb2 as pb

METHOD = "/mps.delivery.v1.Delivery/Subscribe"
RETRY_S = 0.02
WAIT_S = 5
TIME_DIGITS = 20
"""Number of digits of the time in nanoseconds with which a timed value begins."""
DELIVERY_ID = re.compile(rb'"delivery_id":"([^"]+)"')
SETTLE_URL = re.compile(rb'"settle_url":"([^"]+)"')
VALUE = re.compile(rb'"value":"([0-9]{20})')

Took = Callable[[int, Sequence[bytes]], None]
"""A function that takes the number of records that arrived, and the beginnings of their values if times are measured."""


async def stream(address: str, subscription: str, credit: int, timed: bool, took: Took) -> None:
    """Keep a stream open until cancelled; settle each frame at once, and grant as much credit again."""
    while True:
        with suppress(aio.AioRpcError):
            async with aio.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
                open_stream: Any = channel.stream_stream(
                    METHOD,
                    request_serializer=pb.SubscribeRequest.SerializeToString,
                    response_deserializer=pb.SubscribeResponse.FromString,
                )
                call = open_stream()
                opening = pb.Open(subscription=subscription, client="bench", credit=pb.Credit(records=credit))
                await call.write(pb.SubscribeRequest(open=opening))
                await _settle_frames(call, timed, took)
        await asyncio.sleep(RETRY_S)


async def _settle_frames(call: Any, timed: bool, took: Took) -> None:
    frames: AsyncIterator[Any] = call
    async for frame in frames:
        records = frame.records.records
        if not records:
            continue
        took(len(records), [record.value[:TIME_DIGITS] for record in records] if timed else ())
        settle = pb.Settle(acks=[record.delivery_id for record in records])
        await call.write(pb.SubscribeRequest(settle=settle))
        await call.write(pb.SubscribeRequest(credit=pb.Credit(records=len(records))))


async def pull(address: str, subscription: str, records_max: int, timed: bool, took: Took) -> None:
    """Pull and settle one lease after the other over one connection, until cancelled."""
    host, _, port = address.rpartition(":")
    asking = b'{"records_max": %d, "wait_s": %d}' % (records_max, WAIT_S)
    target = f"/v1/subscriptions/{subscription}/leases".encode()
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 24)
            try:
                while True:
                    body = await _post(reader, writer, target, asking)
                    ids = DELIVERY_ID.findall(body)
                    if not ids:
                        continue
                    took(len(ids), VALUE.findall(body) if timed else ())
                    settlements = b",".join([b'{"delivery_id":"%b","verdict":"ack"}' % each for each in ids])
                    found = SETTLE_URL.search(body)
                    assert found
                    where = b"/" + found[1].split(b"/", 3)[3]
                    await _post(reader, writer, where, b'{"settlements":[%b]}' % settlements)
            finally:
                writer.close()
        await asyncio.sleep(RETRY_S)


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: bytes, body: bytes) -> bytes:
    """Send a POST and return the answer's body.

    Raises:
        ConnectionError: an answer that is none of a daemon that works.
    """
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (target, len(body), body)
    )
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.find(b"content-length: ")
    if at < 0:
        raise ConnectionError(head.decode())
    answer = await reader.readexactly(int(head[at + 16 : head.find(b"\r", at)]))
    if not head.startswith(b"http/1.1 200"):
        raise ConnectionError(f"{head.decode()} {answer.decode()}")
    return answer


class Callers:
    """The applications of one run."""

    def __init__(self, took: Took) -> None:
        self._took = took
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, orders: dict[str, str]) -> None:
        """End the present applications, and start those of the command."""
        for task in self._tasks:
            task.cancel()
        call = {"stream": stream, "pull": pull}.get(orders.get("way", ""))
        self._tasks = []
        if call is not None:
            timed, credit = orders.get("timed") == "1", int(orders["credit"])
            self._tasks = [
                asyncio.create_task(call(orders["address"], orders["subscription"], credit, timed, self._took))
                for _ in range(int(orders["callers"]))
            ]


def latency_s(value: bytes) -> float:
    """Return the time since the production of a timed value."""
    return (time.time_ns() - int(value)) / 1e9
