"""One run on the stage: half of the orders, an outage, the other half while nobody listens, and waiting until all settles.

Nothing here judges; what was seen is handed over as evidence.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from mpsd.core.record import Record, TopicPartition
from mpsd.demo.asking import get, listens, post
from mpsd.demo.checks import Evidence
from mpsd.demo.children import POLL_S, dead_letter_topic
from mpsd.demo.display import Display, Moment
from mpsd.demo.guarantees.events import Committed, SeenRecord
from mpsd.demo.stage import Stage
from mpsd.demo.story import Story
from mpsd.errors import KafkaUnavailable
from mpsd.kafka.topics import Message

OUTAGE_S = 2.0
_LOOK_INTERVAL_S = 0.1
_RATE_WINDOW_S = 1.0
_CHUNK_RECORDS = 2_500
STALLED_S = 20.0
"""A run in which nothing has moved for so long is over: longer than an outage and every back-off of the demo."""


class Run:
    """A run that has not begun; `run` it once.

    Args:
        deadline_s: on the monotonic clock; what is not settled by then, or when nothing has moved for `STALLED_S`, stays
            so, and the evidence shows it.
    """

    def __init__(self, stage: Stage, story: Story, display: Display, deadline_s: float) -> None:
        self._stage = stage
        self._story = story
        self._display = display
        self._deadline_s = deadline_s
        self._produced: list[Record] = []
        self._commits: list[Committed] = []
        self._committed: dict[TopicPartition, int] = {}
        self._meters = Meters()
        self._moved_at_s = time.monotonic()
        self._delivered: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    async def run(self, *, stop: bool) -> Evidence:
        """Produce, deliver, make the outage, and return the evidence.

        Args:
            stop: whether to ask the daemon to end when all is settled, so that what it does then is seen too.

        Raises:
            ChildEnded: the daemon or the application ended by itself.
            KafkaUnavailable: the broker does not do what a run needs.
        """
        messages = self._story.messages
        half = len(messages) // 2
        await self._produce(messages[:half])
        await self._until(lambda: self._meters.delivered >= half // 2)
        await self._make_outage()
        await self._produce(messages[half:])
        log_end = await self._stage.topics.log_end(self._stage.topic)
        await self._until(lambda: all(self._committed.get(tp, 0) == end for tp, end in log_end.items()))
        clean_stop = await self._stage.daemon.stop() == 0 if stop else None
        self._see_commits(await self._stage.topics.committed(self._stage.topic))
        return await self._evidence(log_end, clean_stop)

    async def _produce(self, messages: Sequence[Message]) -> None:
        for start in range(0, len(messages), _CHUNK_RECORDS):
            chunk = messages[start : start + _CHUNK_RECORDS]
            written = await self._stage.topics.produce(self._stage.topic, chunk)
            self._produced += [
                SeenRecord(self._stage.topic, partition, offset, message.key)
                for message, (partition, offset) in zip(chunk, written, strict=True)
            ]
            await self._look()

    async def _make_outage(self) -> None:
        """Stop the application; return when nobody listens. The application first finishes the requests it has."""
        await post(f"{self._stage.outage_url}?seconds={OUTAGE_S:g}")
        while await listens(self._stage.application_url) and time.monotonic() < self._deadline_s:
            await self._look()
            await asyncio.sleep(POLL_S)

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Look and show until it is reached, or there is no more hope that it will be."""
        while not reached() and time.monotonic() < min(self._deadline_s, self._moved_at_s + STALLED_S):
            await self._look()
            await asyncio.sleep(_LOOK_INTERVAL_S)

    async def _look(self) -> None:
        self._stage.check()
        before = (self._meters, len(self._commits), len(self._produced))
        if (exposition := await get(f"{self._stage.daemon_url}/metrics")) is not None:
            self._meters = read_meters(exposition)
        with contextlib.suppress(KafkaUnavailable):  # before the group's first commit it has no coordinator
            self._see_commits(await self._stage.topics.committed(self._stage.topic))
        if (self._meters, len(self._commits), len(self._produced)) != before:
            self._moved_at_s = time.monotonic()
        self._display.show(self._moment())

    def _see_commits(self, committed: Mapping[TopicPartition, int]) -> None:
        now_s = time.monotonic()
        for tp, next_offset in committed.items():
            if self._committed.get(tp) != next_offset:
                self._commits.append(Committed(tp, next_offset, now_s))
        self._committed |= committed

    def _moment(self) -> Moment:
        now_s, meters = time.monotonic(), self._meters
        self._delivered.append((now_s, meters.delivered))
        while self._delivered[0][0] < now_s - _RATE_WINDOW_S:
            self._delivered.popleft()
        since_s, before = self._delivered[0]
        return Moment(
            records=len(self._story.messages),
            delivered=meters.delivered,
            retried=meters.retried,
            dead_lettered=meters.dead_lettered,
            in_flight=meters.in_flight,
            per_second=round((meters.delivered - before) / max(now_s - since_s, _LOOK_INTERVAL_S)),
            note="the application is away: deliveries pause" if meters.breaker_open else "",
        )

    async def _evidence(self, log_end: Mapping[TopicPartition, int], clean_stop: bool | None) -> Evidence:
        topics, dead_letters = self._stage.topics, dead_letter_topic(self._stage.topic)
        return Evidence(
            produced=self._produced,
            poison=self._story.poison,
            flaky=self._story.flaky,
            event_log=self._stage.event_log.read_text().splitlines(),
            dead_letters=await topics.read_all(dead_letters) if await topics.exists(dead_letters) else [],
            commits=self._commits,
            log_end=log_end,
            clean_stop=clean_stop,
            wall_clock_s=time.time() - time.monotonic(),
        )


class Meters(NamedTuple):
    """Counts since the daemon began, and what is in flight now."""

    delivered: int = 0
    retried: int = 0
    dead_lettered: int = 0
    in_flight: int = 0
    breaker_open: bool = False


def read_meters(exposition: str) -> Meters:
    """Return the meters of a daemon with one subscription; a missing metric counts as 0.

    Args:
        exposition: its metrics in Prometheus' text format.
    """
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            name = "delivered" if sample.labels.get("outcome") == "delivered" else sample.name
            sums[name] = sums.get(name, 0.0) + sample.value
    return Meters(
        delivered=int(sums.get("delivered", 0)),
        retried=int(sums.get("mps_retries_total", 0)),
        dead_lettered=int(sums.get("mps_dead_letters_total", 0)),
        in_flight=int(sums.get("mps_in_flight_records", 0)),
        breaker_open=sums.get("mps_breaker_open", 0) > 0,
    )
