"""A dead-letter topic in memory."""

import asyncio
from collections.abc import Callable, Sequence

from mpsd.ports import DeadLetter, DlqPosition


class FakeDeadLetters:
    """`DeadLetterSink`.

    Attributes:
        dead letters: those that were written, in order.
        refuse: why a dead letter cannot be written; None writes it.
        takes_s: how long a write takes.
    """

    def __init__(self) -> None:
        self.dead_letters: list[DeadLetter] = []
        self.refuse: Callable[[DeadLetter], Exception | None] = lambda _: None
        self.takes_s = 0.001
        self.writes: list[int] = []
        self.is_closed = False
        self.prepare_error: Exception | None = None

    @property
    def offsets(self) -> list[int]:
        return [dead_letter.delivery.record.offset for dead_letter in self.dead_letters]

    async def prepare(self) -> None:
        if self.prepare_error is not None:
            raise self.prepare_error

    async def write(self, dead_letters: Sequence[DeadLetter]) -> list[DlqPosition | BaseException]:
        self.writes.append(len(dead_letters))
        await asyncio.sleep(self.takes_s)
        answers: list[DlqPosition | BaseException] = []
        for dead_letter in dead_letters:
            error = self.refuse(dead_letter)
            if error is None:
                self.dead_letters.append(dead_letter)
            answers.append(error or DlqPosition("letters", 0, len(self.dead_letters) - 1))
        return answers

    async def close(self) -> None:
        self.is_closed = True
