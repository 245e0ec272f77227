"""The dead-letter topic: letters that are kept, refused, or kept without anybody hearing of it."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from mpsd.errors import KafkaUnavailable
from mpsd.ports import DeadLetter, Landed
from tests.simulation.broker import Broker, Cut


class SimulatedDeadLetters:
    """`DeadLetterSink` of one daemon."""

    def __init__(
        self, broker: Broker, cut: Cut, trouble: "Trouble", dice: random.Random, keep: Callable[[DeadLetter], None]
    ) -> None:
        """Begin connected.

        Args:
            keep: what the topic has.
        """
        self._broker = broker
        self._cut = cut
        self._trouble = trouble
        self._dice = dice
        self._keep = keep

    async def prepare(self) -> None:
        """It is there."""

    def write(self, letters: Sequence[DeadLetter]) -> Awaitable[Sequence[Landed | BaseException]]:
        return self._write(letters)

    async def _write(self, letters: Sequence[DeadLetter]) -> list[Landed | BaseException]:
        await asyncio.sleep(self._broker.latency_s())
        if not self._broker.is_up or self._cut.requests or self._cut.answers:
            await asyncio.sleep(0.5)
            return [KafkaUnavailable("could not write: out of reach")] * len(letters)
        return [await self._one(letter) for letter in letters]

    async def _one(self, letter: DeadLetter) -> Landed | BaseException:
        if self._trouble.refuses and self._dice.random() < self._trouble.refuses:
            await asyncio.sleep(0.05)
            return KafkaUnavailable("could not write: NotEnoughReplicas")
        self._trouble.writing.append(letter)
        await asyncio.sleep(self._broker.latency_s() * 3)
        self._trouble.writing.remove(letter)
        self._keep(letter)
        await asyncio.sleep(self._broker.latency_s())
        return Landed("letters", 0, letter.delivery.record.offset)

    async def close(self) -> None:
        """Holds nothing."""


class Trouble:
    """With the dead-letter topic.

    Attributes:
        refuses: the share of letters that it refuses, 0 up to 1.
        writing: letters on their way.
    """

    def __init__(self) -> None:
        self.refuses = 0.0
        self.writing: list[DeadLetter] = []
