"""An event loop on which time costs nothing: it jumps to the next timer, and a deadlock raises at once.

Real sockets and threads must stay off it: while they work, it jumps.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from typing_extensions import override

P = ParamSpec("P")
T = TypeVar("T")

TURNS_MAX = 100_000
"""Turns of the loop within one moment; code that never lets time pass is as stuck as code that waits for ever."""


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set: whoever waits would wait for ever."""


class Livelock(RuntimeError):
    """Something is always ready, so that time stands still."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never blocks: instead of waiting, it moves the clock."""

    now_s = 0.0
    turns = 0
    turns_of_this_moment = 0

    @override
    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        self.turns += 1
        self.turns_of_this_moment += 1
        if not ready:
            if timeout is None:
                raise Deadlock("nothing is ready and no timer is set")
            if timeout > 0:
                self.now_s += timeout
                self.turns_of_this_moment = 0
        if self.turns_of_this_moment > TURNS_MAX:
            raise Livelock(f"{TURNS_MAX} turns and still {self.now_s} s")
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Begins at 0.0 s."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-6  # a timer is due also where adding up the jumps has lost a bit

    @override
    def time(self) -> float:
        return self._jumping.now_s

    @property
    def turns(self) -> int:
        """Return the number of turns of the loop; a resting program lets it turn for timers only."""
        return self._jumping.turns


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`, on a loop of its own that starts at 0.0 s."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def in_virtual_time(story: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a test of a coroutine."""

    @functools.wraps(story)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_in_virtual_time(story(*args, **kwargs))

    return told
