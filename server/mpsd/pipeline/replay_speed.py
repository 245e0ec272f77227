"""How fast replays go."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

SPEED_S = 10.0


class Sample(NamedTuple):
    """How far a task was at a moment."""

    at_s: float
    sent: int
    left: int


class ReplaySpeeds:
    """Remembers where running tasks were of late.

    Takes: a sample of each of them, again and again.
    Gives: their speeds.
    Holds at most: the samples of the last `SPEED_S`.
    """

    def __init__(self) -> None:
        self._samples: dict[str, deque[Sample]] = {}

    def add(self, task: str, sample: Sample) -> None:
        """Where it is now."""
        samples = self._samples.setdefault(task, deque())
        samples.append(sample)
        while samples[0].at_s < sample.at_s - SPEED_S:
            samples.popleft()

    def keep(self, tasks: Iterable[str]) -> None:
        """Forget all others."""
        for gone in self._samples.keys() - set(tasks):
            del self._samples[gone]

    def of(self, task: str) -> tuple[float, float | None]:
        """Records sent in each second, mean of the last `SPEED_S`, and how long it will take as it goes; None: nobody knows."""
        samples = self._samples.get(task)
        if not samples or samples[-1].at_s <= samples[0].at_s:
            return 0.0, None
        first, last = samples[0], samples[-1]
        took_s = last.at_s - first.at_s
        looked_per_s = (first.left - last.left) / took_s
        left_s = last.left / looked_per_s if looked_per_s > 0 else None
        return max(0, last.sent - first.sent) / took_s, left_s
