"""Measure the speed of replays."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

SPEED_S = 10.0


class Sample(NamedTuple):
    """The position of a task at a moment."""

    at_s: float
    sent: int
    left: int


class ReplaySpeeds:
    """The positions of running tasks in the last `SPEED_S`.

    Takes: a sample of each of them, again and again.
    Gives: their speeds.
    Holds at most: the samples of the last `SPEED_S`.
    """

    def __init__(self) -> None:
        self._samples: dict[str, deque[Sample]] = {}

    def add(self, task: str, sample: Sample) -> None:
        """Add a sample of a task."""
        samples = self._samples.setdefault(task, deque())
        samples.append(sample)
        while samples[0].at_s < sample.at_s - SPEED_S:
            samples.popleft()

    def keep(self, tasks: Iterable[str]) -> None:
        """Forget all others."""
        for gone in self._samples.keys() - set(tasks):
            del self._samples[gone]

    def of(self, task: str) -> tuple[float, float | None]:
        """Return the records sent a second, mean of the last `SPEED_S`, and the seconds left at that speed; None: unknown."""
        samples = self._samples.get(task)
        if not samples or samples[-1].at_s <= samples[0].at_s:
            return 0.0, None
        first, last = samples[0], samples[-1]
        took_s = last.at_s - first.at_s
        looked_per_s = (first.left - last.left) / took_s
        left_s = last.left / looked_per_s if looked_per_s > 0 else None
        return max(0, last.sent - first.sent) / took_s, left_s
