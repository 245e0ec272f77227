"""A dead-letter topic in memory."""

import asyncio
from collections.abc import Callable, Sequence

from mpsd.ports import DeadLetter, Landed


class FakeDeadLetters:
    """`DeadLetterSink`.

    Attributes:
        letters: those that were written, in order.
        refuse: why a letter cannot be written; None writes it.
        takes_s: how long a write takes.
    """

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.refuse: Callable[[DeadLetter], Exception | None] = lambda _: None
        self.takes_s = 0.001
        self.writes: list[int] = []
        self.is_closed = False
        self.prepare_error: Exception | None = None

    @property
    def offsets(self) -> list[int]:
        return [letter.delivery.record.offset for letter in self.letters]

    async def prepare(self) -> None:
        if self.prepare_error is not None:
            raise self.prepare_error

    async def write(self, letters: Sequence[DeadLetter]) -> list[Landed | BaseException]:
        self.writes.append(len(letters))
        await asyncio.sleep(self.takes_s)
        answers: list[Landed | BaseException] = []
        for letter in letters:
            error = self.refuse(letter)
            if error is None:
                self.letters.append(letter)
            answers.append(error or Landed("letters", 0, len(self.letters) - 1))
        return answers

    async def close(self) -> None:
        self.is_closed = True
