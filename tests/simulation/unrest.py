"""Times at which commits could not get through: they bound the work that a kill may undo."""

from collections.abc import Callable

from tests.simulation.group import State

SLACK = 1.5
"""Commit intervals: one that may just have passed, and what a commit takes."""
CALM = 2.5
"""Commit intervals without unrest after which the last commits have certainly been made."""


class Unrest:
    """Times in which the group rebalanced, or the broker, a connection or a commit was in trouble."""

    def __init__(self, clock_s: Callable[[], float], interval_s: float) -> None:
        self._clock_s = clock_s
        self._interval_s = interval_s
        self._times: list[list[float]] = []
        self._hindrances: list[list[float]] = []
        self._group: list[float] | None = None

    def begins(self, hinders: bool = False) -> list[float]:
        """Begin a time of unrest; if it hinders, commits fail, so that even a clean stop may leave work behind."""
        time = [self._clock_s(), float("inf")]
        self._times.append(time)
        if hinders:
            self._hindrances.append(time)
        return time

    def ends(self, time: list[float]) -> None:
        time[1] = self._clock_s()

    def group_is(self, state: State) -> None:
        if state is State.STABLE:
            if self._group is not None:
                self.ends(self._group)
                self._group = None
        elif self._group is None:
            self._group = self.begins()

    def is_hindered(self, since_s: float) -> bool:
        """Return True if commits failed at some time since then."""
        return any(end_s >= since_s for _, end_s in self._hindrances)

    def committed_before_s(self) -> float:
        """Return the time before which everything finished must be committed by now."""
        at_s = self._clock_s()
        for began_s, ended_s in sorted(self._times, key=lambda time: -time[1]):
            if ended_s >= at_s - CALM * self._interval_s:
                at_s = min(at_s, began_s)
        return at_s - SLACK * self._interval_s
