"""An application of its own process that receives over a stream: `stream_worker.py ADDRESS SUBSCRIPTION LOG CREDIT WORK_S`.

It writes what happened to it as `mpsd.demo.guarantees.event_log` reads it, and on SIGTERM closes its stream cleanly. It
imports nothing of the tests, so that it can be run from anywhere.
"""

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from urllib.parse import quote_from_bytes

from grpc import aio

from mps.delivery.v1 import delivery_pb2 as v1
from mps.delivery.v1.delivery_pb2_grpc import DeliveryStub


class Worker:
    def __init__(self, subscription: str, log: str, credit: int, work_s: float) -> None:
        self._subscription = subscription
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._credit = credit
        self._work_s = work_s
        self._settled: list[int] = []
        self._held: set[int] = set()
        self._news = asyncio.Event()
        self._stopping = False
        self._closed = False

    async def run(self, address: str) -> None:
        async with aio.insecure_channel(address) as channel:
            await self._talk(DeliveryStub(channel).Subscribe())

    async def _talk(self, call: aio.StreamStreamCall[v1.SubscribeRequest, v1.SubscribeResponse]) -> None:
        opening = v1.Open(
            subscription=self._subscription, client=f"{os.getpid()}", credit=v1.Credit(records=self._credit)
        )
        await call.write(v1.SubscribeRequest(open=opening))
        settling = asyncio.create_task(self._settle(call))
        with suppress(aio.AioRpcError):
            while isinstance(frame := await call.read(), v1.SubscribeResponse):
                if frame.HasField("peers"):
                    self._write("peers", addresses=list(frame.peers.addresses))
                if frame.HasField("drain"):
                    self._write("drain", reason=frame.drain.reason)
                for record in frame.records.records:
                    self._begin(record)
        self._write("stream_ended", code=str(await call.code()))
        settling.cancel()

    async def _settle(self, call: aio.StreamStreamCall[v1.SubscribeRequest, v1.SubscribeResponse]) -> None:
        while not self._stopping or self._held or self._settled:  # the last ones may have ended during a write
            await self._news.wait()
            self._news.clear()
            ids, self._settled = self._settled, []
            if ids and not call.done():
                await call.write(v1.SubscribeRequest(settle=v1.Settle(acks=ids)))
                if not self._stopping:
                    await call.write(v1.SubscribeRequest(credit=v1.Credit(records=len(ids))))
        self._closed = True
        await call.done_writing()

    def stop(self) -> None:
        self._stopping = True
        self._news.set()

    def _begin(self, record: v1.Record) -> None:
        if self._closed:  # it could not be settled any more, and comes again to others
            return
        self._held.add(record.delivery_id)
        self._write("delivery_started", record, attempt=record.attempt)
        asyncio.get_running_loop().call_later(self._work_s, self._end, record)

    def _end(self, record: v1.Record) -> None:
        self._held.discard(record.delivery_id)
        self._write("delivery_ended", record, answer=200)
        self._settled.append(record.delivery_id)
        self._news.set()

    def _write(self, event: str, record: v1.Record | None = None, **more: object) -> None:
        entry: dict[str, object] = {"event": event, "at_s": time.monotonic(), **more}
        if record is not None:
            key = quote_from_bytes(record.key) if record.HasField("key") else None
            entry |= {"topic": record.topic, "partition": record.partition, "offset": record.offset, "key": key}
        os.write(self._log, json.dumps(entry).encode() + b"\n")


async def main(address: str, subscription: str, log: str, credit: str, work_s: str) -> None:
    worker = Worker(subscription, log, int(credit), float(work_s))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run(address)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
