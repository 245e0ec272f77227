"""The control topic, and each daemon's log of it: read late, out of reach, written without anybody hearing of it."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from aiokafka.errors import KafkaConnectionError

from mpsd.errors import ControlUnavailable
from mpsd.ports import ControlListener, ControlRecord
from tests.simulation.broker import Broker, Connection
from tests.simulation.machine import outside

TIMEOUT_S = 1.0
READ_MIN_S, READ_MAX_S = 0.005, 0.4
"""Time after which a record is read that nobody waits for."""
REST_S = 0.2
LATE_MAX_S = 0.9
NOBODYS = ControlRecord(b'["","begin"]', b'{"version":1}')


class Kept(NamedTuple):
    """A record of the topic; its offset is its index."""

    record: ControlRecord
    timestamp_ms: int


class ControlTopic:
    """The control topic that all daemons share.

    Args:
        on_decided: told of each record and who wrote it, before anybody can read it.

    Attributes:
        on_acknowledged: told of the offsets of records, when their writer knows that they are written.
        writes: what becomes of them: `prompt`; `late`; `lost`; `unheard`, written without an answer.
    """

    def __init__(self, wall_s: Callable[[], float], on_decided: Callable[[int, ControlRecord, str], None]) -> None:
        self._wall_s = wall_s
        self._on_decided = on_decided
        self.on_acknowledged: Callable[[range], None] = lambda _offsets: None
        self.writes = "prompt"
        self.records = [Kept(NOBODYS, 0)]

    def append(self, items: Sequence[ControlRecord], by: str) -> int:
        for item in items:
            self._on_decided(len(self.records), item, by)
            self.records.append(Kept(item, int(self._wall_s() * 1000)))
        return len(self.records) - 1

    def since(self, offset: int) -> list[Kept]:
        return self.records[offset:]


class SimulatedControlLog:
    """`ControlLog` of one daemon."""

    def __init__(self, topic: ControlTopic, broker: Broker, connection: Connection, dice: random.Random) -> None:
        self._topic = topic
        self._broker = broker
        self._connection = connection
        self._dice = dice
        self._loop = asyncio.get_running_loop()
        self._waiting = "connecting"
        self._wanted = asyncio.Event()
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last_arrives_s = 0.0
        self.position = -1

    async def start(self, listener: ControlListener) -> None:
        self._listener = listener
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            begin = max(0, self.position)
            try:
                found = await self._broker.ask(self._connection, partial(self._topic.since, begin))
            except KafkaConnectionError as error:
                self._waiting = str(error)
                await asyncio.sleep(REST_S)
                continue
            self._waiting = ""
            for offset, (record, timestamp_ms) in enumerate(found, begin):
                self._listener.on_record(offset, record.key, record.value, record.headers, timestamp_ms)
            self.position = begin + len(found)
            self._moved.set()
            await self._rest()

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._dice.uniform(READ_MIN_S, READ_MAX_S)):
                await self._wanted.wait()
        self._wanted.clear()

    async def read_to_end(self) -> int:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                end = await self._end()
                while self.position < end:
                    self._wanted.set()
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise ControlUnavailable(self._waiting or "the control topic was not read in time") from None
        return self.position

    async def _end(self) -> int:
        while True:
            try:
                return int(await self._broker.ask(self._connection, lambda: len(self._topic.records)))
            except KafkaConnectionError:
                await asyncio.sleep(REST_S / 2)

    async def write(self, items: Sequence[ControlRecord]) -> int:
        answer: asyncio.Future[int] = self._loop.create_future()
        outside(self._loop, self._latency_s(), self._arrive, tuple(items), answer)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                last = await answer
        except TimeoutError:
            raise ControlUnavailable("it may be written or not") from None
        self._topic.on_acknowledged(range(last + 1 - len(items), last + 1))
        return last

    def _latency_s(self) -> float:
        """Return the latency of a write, such that writes of one connection stay in order."""
        arrives_s = self._loop.time() + self._broker.latency_s()
        if self._topic.writes == "late":
            arrives_s += self._dice.random() * LATE_MAX_S
        self._last_arrives_s = max(self._last_arrives_s, arrives_s)
        return self._last_arrives_s - self._loop.time()

    def _arrive(self, items: Sequence[ControlRecord], answer: "asyncio.Future[int]") -> None:
        """Take records, even if their sender was killed after it sent them."""
        if not self._broker.is_up or self._connection.cut.requests or self._topic.writes == "lost":
            return
        offset = self._topic.append(items, self._connection.name)
        if not self._connection.cut.answers and self._topic.writes != "unheard":
            self._connection.process.later(self._broker.latency_s(), partial(_resolve, answer, offset))

    def waiting_for(self) -> str:
        return self._waiting

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def _resolve(answer: "asyncio.Future[int]", offset: int) -> None:
    if not answer.done():
        answer.set_result(offset)
