"""The ceiling of the sink: a client that only sends the same request again after each answer.

Run as a process of its own: `python -m bench.hammer URL RECORDS CONNECTIONS BYTES`; prints one JSON object.
"""

import asyncio
import json
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop
from typing_extensions import override

HEAD = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: hammer\r\nMps-Subscription: bench\r\nMps-Topic: bench\r\n"
    b"Mps-Partition: 0\r\nMps-Epoch: 1\r\nMps-Offset: 100000\r\nIdempotency-Key: bench/0/100000\r\n"
    b"Mps-Timestamp: 1700000000000\r\nMps-Key: key-1000\r\nMps-Attempt: 1\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
)


class Round:
    """The number of requests that all connections still have to send."""

    def __init__(self, records: int, request: bytes) -> None:
        self.left = records
        self.unanswered = records
        self.request = request
        self.done = asyncio.get_running_loop().create_future()


class HammerConnection(asyncio.Protocol):
    """Answers are short enough to come in one piece."""

    def __init__(self, work: Round) -> None:
        self._work = work

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        work = self._work
        if work.left:
            work.left -= 1
            self._transport.write(work.request)

    @override
    def data_received(self, data: bytes) -> None:
        work = self._work
        work.unanswered -= 1
        if work.left:
            work.left -= 1
            self._transport.write(work.request)
        elif not work.unanswered:
            work.done.set_result(None)


async def hammer(url: str, records: int, connections: int, body_bytes: int) -> dict[str, float]:
    """Return the requests per second, and the CPU time of this client per request."""
    parts = urlsplit(url)
    work = Round(records, HEAD % body_bytes + bytes(body_bytes))
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(lambda: HammerConnection(work), parts.hostname or "", parts.port or 80))[1]
        for _ in range(connections)
    ]
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for connection in opened:
        connection.send()
    await work.done
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    return {"records_per_s": records / elapsed_s, "cpu_us": cpu_s / records * 1e6}


if __name__ == "__main__":
    url, *numbers = sys.argv[1:]
    print(json.dumps(uvloop.run(hammer(url, *(int(number) for number in numbers)))))
