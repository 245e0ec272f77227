"""Whole pipelines that hold keys, between doubles that outlive each of them."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from typing_extensions import override

from mpsd.core.blocked_keys import entity_key
from mpsd.core.control import EntityKey, Provenance
from mpsd.core.dead_letter_record import DeadLetterRecord, parse
from mpsd.core.delivery import Delivery
from mpsd.core.outcome import DELIVERED, Outcome
from mpsd.core.pauses import Pause, Scope
from mpsd.core.record import TopicPartition
from mpsd.core.replay import ReplayPlan, ReplayState, ReplayTask
from mpsd.ports import DeadLetter, DlqPosition
from tests.fakes.control import FakeControl, FakeControlTopic
from tests.fakes.dead_letters import FakeDeadLetters
from tests.fakes.pipeline import Piped, piped
from tests.fakes.records import POISON, Row
from tests.fakes.replays import FakeDeadLetterLog, FakeRepublisher, replaying

TP = TopicPartition("orders", 0)
OTHERS = tuple(b"o%d" % number for number in range(5))


class ReadableDeadLetters(FakeDeadLetters):
    """A dead-letter topic of one partition that is written and read."""

    def __init__(self, log: FakeDeadLetterLog) -> None:
        super().__init__()
        self._log = log

    @override
    async def write(self, dead_letters: Sequence[DeadLetter]) -> list[DlqPosition | BaseException]:
        await asyncio.sleep(self.takes_s)
        answers: list[DlqPosition | BaseException] = []
        for dead_letter in dead_letters:
            if (error := self.refuse(dead_letter)) is not None:
                answers.append(error)
                continue
            rows, record = self._log.rows[0], dead_letter.delivery.record
            offset = rows[-1].offset + 1 if rows else 0
            headers = [*record.headers, *dead_letter.headers]
            row = Row(topic="orders.dlq", offset=offset, key=record.key, value=record.value, headers=headers)
            rows.append(row)
            self.dead_letters.append(dead_letter)
            answers.append(DlqPosition("orders.dlq", 0, offset))
        return answers


class Fleet:
    """Topics that daemons share, and the records that came to the application."""

    def __init__(self) -> None:
        self.log = FakeDeadLetterLog()
        self.topic = FakeControlTopic()
        self.poison: Collection[int] = {2}
        self.seen: list[tuple[bytes | None, int]] = []
        self.accepted: list[tuple[bytes | None, int]] = []

    @asynccontextmanager
    async def daemon(self, *, keys_max: int = 100, commit: Piped | None = None, **changes: Any) -> AsyncIterator[Piped]:
        """Whoever comes after another goes on from its commits."""

        async def read() -> None:
            await asyncio.sleep(0.001)

        means = replaying(self.log, FakeRepublisher(), self.topic)
        control = FakeControl(read=read, write=self.topic.record, offset=lambda: self.topic.read)
        told = {"commit_interval_s": 0.5, "blocked_keys_max": keys_max, **changes}
        async with piped(control, means, sink=ReadableDeadLetters(self.log), **told) as at:
            at.adapter.answer = self._answer
            if commit is not None:
                at.source.log, at.source.ends = commit.source.log, commit.source.ends
                at.source.committed = commit.source.committed
            self.topic.follow(at.pipeline)
            yield at

    def _answer(self, delivery: Delivery) -> Outcome:
        record = delivery.record
        self.seen.append((record.key, record.offset))
        if record.offset in self.poison:
            return POISON
        self.accepted.append((record.key, record.offset))
        return DELIVERED

    def of(self, key: bytes) -> list[int]:
        """Offsets that came to the application."""
        return [offset for each, offset in self.seen if each == key]

    def dead_letters(self, key: bytes = b"k") -> list[tuple[int, str, int]]:
        """Source offset, disposition and replays of each dead letter."""
        found = [parse(row) for row in self.log.rows[0] if row.key == key]
        return [
            (each.source_offset, each.disposition.value if each.disposition else "", each.replays)
            for each in found
            if isinstance(each, DeadLetterRecord)
        ]

    def blocked(self, key: bytes = b"k") -> bool:
        return self.topic.state.get(self.entity(key)) is not None

    def entity(self, key: bytes = b"k") -> EntityKey:
        return entity_key("billing", "billing", TP, key)

    async def replay(self, name: str = "r1", **plan: Any) -> None:
        bounds = [each for _, each in sorted((await self.log.bounds()).items())]
        task = ReplayTask(
            id=name, group="billing", subscription="billing", plan=ReplayPlan(**plan), bounds=bounds,
            sources={"orders": 1}, state=ReplayState.RUNNING, reason="", started_at_ms=1, ended_at_ms=None,
        )  # fmt: skip
        self.topic.put(task.key, task.document())


async def fed(at: Piped, *keys: bytes | None, wait_s: float = 5.0) -> None:
    """Partition 0 has records of these keys and is assigned; what becomes of them by itself has, in the usual time."""
    at.source.produce(*keys)
    at.source.assign()
    await asyncio.sleep(wait_s)


@asynccontextmanager
async def one_daemon(
    *keys: bytes | None, poison: Collection[int] = (2,), **changes: Any
) -> AsyncIterator[tuple[Fleet, Piped]]:
    """Enter a fleet of one daemon, to which the records of these keys were `fed`, if there are any."""
    fleet = Fleet()
    fleet.poison = poison
    async with fleet.daemon(**changes) as at:
        if keys:
            await fed(at, *keys)
        yield fleet, at


def pause_of(key: bytes) -> Pause:
    """Nothing of the key is delivered until it is gone."""
    nobody = Provenance("", "", 0, "", "")
    return Pause(scope=Scope("billing", key=key), until_ms=None, revision=1, provenance=nobody)


def state(at: Piped, task: str = "r1") -> ReplayState:
    assert at.pipeline.replays is not None
    return at.pipeline.replays.book.tasks[task].state


ONE_KEY = (b"k", OTHERS[0], b"k", b"k", OTHERS[1], b"k")
"""Offset 2 is poison: 3 and 5 come behind it."""
