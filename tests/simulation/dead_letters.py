"""The dead-letter topic: dead letters that are kept, refused, or kept without anybody hearing of it; read back for replays."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from aiokafka.errors import KafkaConnectionError

from mpsd.core.delivery import ReplayedDelivery
from mpsd.core.record import LogBounds, LogPart
from mpsd.errors import KafkaUnavailable
from mpsd.ports import DeadLetter, DlqPosition
from tests.simulation.broker import Broker, Connection, Cut
from tests.simulation.log import SimulatedRecord
from tests.simulation.machine import outside

TOPIC = "billing.dlq"
WRITE_TIMEOUT_S = 1.0
BEHIND_S = 0.0002


class DeadLetterTopic:
    """The dead letters written so far."""

    def __init__(self, partitions: int) -> None:
        self.partitions: list[list[SimulatedRecord]] = [[] for _ in range(partitions)]

    def append(self, dead_letter: DeadLetter, wall_s: float) -> DlqPosition:
        record = dead_letter.delivery.record
        number = record.partition % len(self.partitions)
        kept, headers = self.partitions[number], (*record.headers, *dead_letter.headers)
        offset = len(kept)
        kept.append(SimulatedRecord(TOPIC, number, offset, int(wall_s * 1000), record.key, record.value, headers))
        return DlqPosition(TOPIC, number, offset)

    def bounds(self) -> dict[int, LogBounds]:
        return {number: LogBounds(0, len(kept)) for number, kept in enumerate(self.partitions)}


class SimulatedDeadLetters:
    """`DeadLetterSink` of one daemon."""

    def __init__(
        self,
        broker: Broker,
        cut: Cut,
        failures: "DlqFaults",
        dice: random.Random,
        keep: Callable[[DeadLetter], DlqPosition],
        are_many: bool = False,
    ) -> None:
        """Begin connected.

        Args:
            keep: what the topic has.
            are_many: a write may have hundreds of dead letters: they come one right behind the other.
        """
        self._are_many = are_many
        self._broker = broker
        self._cut = cut
        self._failures = failures
        self._dice = dice
        self._keep = keep

    async def prepare(self) -> None:
        """Do nothing, because the topic exists."""

    def write(self, dead_letters: Sequence[DeadLetter]) -> Awaitable[Sequence[DlqPosition | BaseException]]:
        return self._write(dead_letters)

    async def _write(self, dead_letters: Sequence[DeadLetter]) -> list[DlqPosition | BaseException]:
        await asyncio.sleep(self._broker.latency_s())
        if not self._broker.is_up or self._cut.requests or self._cut.answers:
            await asyncio.sleep(0.5)
            return [KafkaUnavailable("could not write: out of reach")] * len(dead_letters)
        return [
            await self._one(dead_letter, self._are_many and dead_letter is not dead_letters[0])
            for dead_letter in dead_letters
        ]

    async def _one(self, dead_letter: DeadLetter, is_behind: bool) -> DlqPosition | BaseException:
        if self._failures.refuses and self._dice.random() < self._failures.refuses:
            await asyncio.sleep(BEHIND_S if is_behind else 0.05)
            return KafkaUnavailable("could not write: NotEnoughReplicas")
        self._failures.writing.append(dead_letter)
        await asyncio.sleep(BEHIND_S if is_behind else self._broker.latency_s() * 3)
        self._failures.writing.remove(dead_letter)
        dlq_position = self._keep(dead_letter)
        await asyncio.sleep(0.0 if is_behind else self._broker.latency_s())
        return dlq_position

    async def close(self) -> None:
        """Do nothing, because nothing is open."""


class DlqFaults:
    """With the dead-letter topic.

    Attributes:
        refuses: the share of dead letters that it refuses, 0 up to 1.
        writing: dead letters on their way.
    """

    def __init__(self) -> None:
        self.refuses = 0.0
        self.writing: list[DeadLetter] = []


class SimulatedDeadLetterLog:
    """`DeadLetterLog` of one daemon."""

    topic_id = ""

    def __init__(self, topic: DeadLetterTopic, broker: Broker, connection: Connection, dice: random.Random) -> None:
        self._topic = topic
        self._broker = broker
        self._connection = connection
        self._dice = dice

    async def bounds(self) -> dict[int, LogBounds]:
        try:
            found: dict[int, LogBounds] = await self._broker.ask(self._connection, self._topic.bounds)
        except KafkaConnectionError as error:
            raise KafkaUnavailable(str(error)) from error
        return found

    async def fetch(self, partition: int, offset: int, records_max: int) -> LogPart:
        stop = offset + min(records_max, self._dice.choice((1, 4, 500)))
        kept = self._topic.partitions[partition]
        try:
            records = await self._broker.ask(self._connection, lambda: kept[offset:stop])
        except KafkaConnectionError as error:
            raise KafkaUnavailable(str(error)) from error
        return LogPart(records, offset + len(records))

    async def close(self) -> None:
        """Do nothing, because nothing is open."""


class SimulatedRepublisher:
    """`Republisher` of one daemon."""

    def __init__(
        self, broker: Broker, connection: Connection, append: Callable[[Sequence[ReplayedDelivery]], None]
    ) -> None:
        self._broker = broker
        self._connection = connection
        self._append = append

    async def write(self, deliveries: Sequence[ReplayedDelivery]) -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        outside(loop, self._broker.latency_s(), self._arrive, tuple(deliveries), answer)
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await answer
        except TimeoutError:
            raise KafkaUnavailable("some may be written or not") from None

    def _arrive(self, deliveries: Sequence[ReplayedDelivery], answer: "asyncio.Future[None]") -> None:
        if not self._broker.is_up or self._connection.cut.requests:
            return
        self._append(deliveries)
        if not self._connection.cut.answers:
            self._connection.process.later(self._broker.latency_s(), _resolve, answer)

    async def close(self) -> None:
        """Do nothing, because nothing is open."""


def _resolve(answer: "asyncio.Future[None]") -> None:
    if not answer.done():
        answer.set_result(None)
