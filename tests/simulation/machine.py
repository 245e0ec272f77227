"""Machines on one loop of virtual time: a process can be frozen, thawed and killed between any two of its callbacks.

Every callback runs in a context, and a context knows its process; tasks and timers inherit it. What falls due for a
frozen process is kept for its thaw, in the order in which it fell due; what falls due for a killed one never happens, so
none of its `finally` runs. Clocks run on meanwhile, as they do beside a stopped process.
"""

import asyncio
import contextvars
import heapq
from collections.abc import Callable, Coroutine
from typing import Any

from typing_extensions import override

TURNS_MAX = 200_000
"""Turns of the loop within one moment: more is a loop that never lets time pass."""
ASKED_MAX = 1_000_000
"""Looks at the clock within one moment: more is a loop that never lets the loop turn."""

_PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)


class Stuck(RuntimeError):
    """Everybody waits for ever, or somebody turns for ever."""


class SimulationLoop(asyncio.BaseEventLoop):
    """Begins at 0.0 s and jumps to the next timer. No sockets, no threads, no signals."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._turns = 0
        self._asked = 0
        self.gated = False

    @override
    def time(self) -> float:
        self._asked += 1
        if self._asked > ASKED_MAX:
            raise Stuck(f"somebody asks what time it is for ever: {self._now_s} s")
        return self._now_s

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        if not ready:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)._scheduled = False
            if not scheduled:
                raise Stuck("nothing is ready and no timer is set")
            if scheduled[0]._when > self._now_s:
                self._now_s = scheduled[0]._when
                self._turns = self._asked = 0
        now_s = self._now_s
        while scheduled and scheduled[0]._when <= now_s:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        self._turns += 1
        if self._turns > TURNS_MAX:
            raise Stuck(f"{TURNS_MAX} turns and still {now_s} s")
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            if self.gated and (process := handle._context.get(_PROCESS)) is not None and not process.runs:
                process.keep(handle)
                continue
            handle._run()

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""


class Process:
    """One daemon's share of the loop.

    Attributes:
        runs: neither frozen nor dead.
        is_dead: killed; it never comes back.
    """

    def __init__(self, name: str, loop: SimulationLoop) -> None:
        self.name = name
        self.runs = True
        self.is_dead = False
        self._loop = loop
        self._kept: list[asyncio.Handle] = []
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)

    def spawn(self, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self._loop.create_task(main, context=self.context)

    def later(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> None:
        """Something reaches the process from outside after so long."""
        self._loop.call_later(delay_s, callback, *args, context=self.context)

    def keep(self, handle: asyncio.Handle) -> None:
        if not self.is_dead:
            self._kept.append(handle)

    def freeze(self) -> None:
        self.runs = False
        self._loop.gated = True

    def thaw(self) -> None:
        if self.is_dead:
            return
        self.runs = True
        kept, self._kept = self._kept, []
        self._loop._ready.extend(handle for handle in kept if not handle._cancelled)  # type: ignore[attr-defined]

    def kill(self) -> None:
        self.freeze()
        self.is_dead = True
        self._kept.clear()

    def dead_letter(self) -> None:
        """After the story: let what is left of it be cancelled."""
        self.runs = True


def outside(loop: asyncio.AbstractEventLoop, delay_s: float, callback: Callable[..., Any], *args: Any) -> None:
    """Something happens in the world after so long, whatever becomes of the process that caused it."""
    loop.call_later(delay_s, callback, *args, context=_WORLD)


_WORLD = contextvars.Context()
