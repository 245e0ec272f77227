"""The application of the benchmark: answers every POST with 200 at the least cost, because only the daemon is measured.

Run it as a process: `python -m bench.sink`. It prints its address on standard output. A GET is a command in its query; the
answer has the counts since the previous command (see `bench.sink_client`):

    GET /begin?records=100000&pid=4711&delay_ms=5&warm_up=10000&timed=1&silent=0     forget everything, watch a process
                way=stream|pull, address=HOST:PORT, subscription=bench, callers=2, credit=1000          dial in, instead
    GET /seen                                                                        the figures so far

One request of a connection at a time, heads as the daemon and `bench.hammer` write them: Content-Length and the number of
records of a batch as they are spelt there, and nothing else looked at.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Sequence
from email.utils import formatdate
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import psutil
import uvloop
from typing_extensions import override

from bench.callers import TIME_DIGITS, Callers, latency_s

END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"Content-Length: "
RECORDS = b"\r\nMps-Records: "


class Sink:
    """The present command and the counts, which all connections share."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: deque[tuple[float, asyncio.Transport]] = deque()
        self._answering: asyncio.TimerHandle | None = None
        self._callers = Callers(self.came)
        self.begin({})
        self.tick()

    def tick(self) -> None:
        """Renew the answer for this second, because servers send the date."""
        date = formatdate(usegmt=True).encode()
        self.answer = b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Length: 0\r\n\r\n" % date
        self._loop.call_later(1.0, self.tick)

    def begin(self, orders: dict[str, str]) -> None:
        self.silent = orders.get("silent") == "1"
        self.delay_s = float(orders.get("delay_ms", "0")) / 1000
        self.timed = orders.get("timed") == "1"
        self._pid = int(orders.get("pid", "0"))
        self._marks = {1, int(orders.get("warm_up", "1")), int(orders.get("records", "1"))}
        self.next_mark = min(self._marks)
        self.seen = 0
        self.passed: dict[int, tuple[float, float]] = {}
        self.latencies_s: list[float] = []
        self._began_cpu_s = time.process_time()
        self._callers.begin(orders)

    def came(self, records: int, values: Sequence[bytes]) -> None:
        """Count records that arrived together, with the beginnings of their values if times are measured."""
        self.seen += records
        self.latencies_s.extend(map(latency_s, values))
        if self.seen >= self.next_mark > 0:
            self.mark()

    def mark(self) -> None:
        """Store the time and the CPU time of the daemon for the marks that were reached; a batch counts as its last record."""
        passed = time.monotonic(), _cpu_s(self._pid) if self._pid else 0.0
        self.passed.update({mark: passed for mark in self._marks if self.next_mark <= mark <= self.seen})
        self.next_mark = min((mark for mark in self._marks if mark > self.seen), default=0)

    def figures(self) -> dict[str, object]:
        return {
            "seen": self.seen,
            "passed": {str(count): mark for count, mark in self.passed.items()},
            "latencies_s": self.latencies_s,
            "sink_cpu_s": time.process_time() - self._began_cpu_s,
        }

    def answer_later(self, transport: asyncio.Transport) -> None:
        """Answer after the delay, which is equal for all, so that one timer and one queue are enough."""
        self._due.append((self._loop.time() + self.delay_s, transport))
        if self._answering is None:
            self._answering = self._loop.call_later(self.delay_s, self._answer_due)

    def _answer_due(self) -> None:
        now_s, due = self._loop.time() + 0.0005, self._due
        while due and due[0][0] <= now_s:
            transport = due.popleft()[1]
            if not transport.is_closing():
                transport.write(self.answer)
        self._answering = self._loop.call_later(due[0][0] - now_s, self._answer_due) if due else None


class SinkConnection(asyncio.Protocol):
    """The connection of one client."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._begun = b""
        self._to_come = 0
        self._records = 1

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._to_come:
            self._to_come -= len(data)
            if not self._to_come:
                self._whole(self._records)
            return
        if self._begun:
            data = self._begun + data
        end = data.find(END_OF_HEAD)
        at = data.find(LENGTH, 0, end)
        if end < 0 or at < 0:
            self._other(data, end)
            return
        to_come = int(data[at + 16 : data.find(b"\r", at, end + 1)]) - (len(data) - end - 4)
        if (batch := data.find(RECORDS, 0, end)) > 0:
            self._begun = b""
            self._records = int(data[batch + 15 : data.find(b"\r", batch + 15, end)])
            self._to_come = to_come
            if not to_come:
                self._whole(self._records)
            return
        if to_come > 0:
            self._begun = data
            return
        self._begun = b""
        if self._sink.timed:
            self._sink.latencies_s.append(latency_s(data[end + 4 : end + 4 + TIME_DIGITS]))
        self._whole(1)

    def _whole(self, records: int) -> None:
        """Answer a request that has arrived completely."""
        sink = self._sink
        sink.came(records, ())
        if sink.delay_s:
            sink.answer_later(self._transport)
        elif not sink.silent:
            self._transport.write(sink.answer)

    def _other(self, data: bytes, end: int) -> None:
        """Handle a command, or the beginning of a request."""
        if end < 0 or not data.startswith(b"GET "):
            self._begun = data
            return
        self._begun = b""
        target = urlsplit(data.split(b" ", 2)[1].decode())
        if target.path == "/begin":
            self._sink.begin(dict(parse_qsl(target.query)))
        body = json.dumps(self._sink.figures()).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def serve() -> None:
    """Serve until killed."""
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: SinkConnection(sink), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
