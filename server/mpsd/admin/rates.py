"""Rates per second, from counters that are read once a second."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from typing_extensions import override

from mpsd.core.retry import Disposition
from mpsd.pipeline.pipeline import Pipeline

WINDOW = 10
"""Seconds over which a rate is the mean."""
SAMPLE_S = 1.0
RECENT_S = 600.0
"""The time that counts as recent in the check-up."""
RECENT_SAMPLE_S = 60.0


class Counts(NamedTuple):
    """The counters of a subscription since the start."""

    delivered: int
    retried: int
    dead_lettered: int = 0


DIED = frozenset(
    {
        Disposition.REJECTED.value,
        Disposition.ATTEMPTS_EXHAUSTED.value,
        Disposition.EXPIRED.value,
        Disposition.UNDELIVERABLE.value,
    }
)
"""Dispositions of records that failed for themselves: not skipped by an operator, not blocked behind another."""


def counts(pipelines: Iterable[Pipeline]) -> dict[str, Counts]:
    """Return the counters of all subscriptions."""
    return {
        pipeline.settings.name: Counts(
            pipeline.writer.outcomes["delivered"],
            pipeline.writer.retries,
            sum(count for why, count in pipeline.dead_letters.items() if why in DIED),
        )
        for pipeline in pipelines
    }


class PerSecond(NamedTuple):
    """The mean rates over the window."""

    delivered: float
    retried: float


class Rates:
    """The counters of the last seconds.

    Takes: the counters of all subscriptions, once a second.
    Holds at most: `WINDOW` + 1 samples, and one for each minute of `RECENT_S`.
    """

    def __init__(self, read: Callable[[], Mapping[str, Counts]], now_s: Callable[[], float]) -> None:
        self._read = read
        self._now_s = now_s
        self._samples: deque[tuple[float, Mapping[str, Counts]]] = deque(maxlen=WINDOW + 1)
        self._minutes: deque[tuple[float, Mapping[str, Counts]]] = deque(maxlen=round(RECENT_S / RECENT_SAMPLE_S))

    def sample(self) -> None:
        sample = (self._now_s(), self._read())
        self._samples.append(sample)
        if not self._minutes or sample[0] - self._minutes[-1][0] >= RECENT_SAMPLE_S:
            self._minutes.append(sample)

    async def run(self) -> None:
        """Sample the counters until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(SAMPLE_S)

    def of(self, subscription: str) -> PerSecond:
        """Return the rates from the oldest sample to the newest; 0 before there are two samples."""
        if len(self._samples) < 2:
            return PerSecond(0.0, 0.0)
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        nothing = Counts(0, 0)
        begin, end = first.get(subscription, nothing), last.get(subscription, nothing)
        seconds = max(last_s - first_s, 1e-9)
        return PerSecond((end.delivered - begin.delivered) / seconds, (end.retried - begin.retried) / seconds)

    def recent(self, subscription: str) -> Counts:
        """Return what happened since about `RECENT_S` ago, or since the start."""
        nothing = Counts(0, 0)
        end = self._read().get(subscription, nothing)
        begin = self._minutes[0][1].get(subscription, nothing) if self._minutes else nothing
        return Counts(*(after - before for after, before in zip(end, begin, strict=True)))

    @override
    def __repr__(self) -> str:
        return f"<Rates samples={len(self._samples)}>"
