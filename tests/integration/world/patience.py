"""The one way to wait for what nobody announces: look again, up to a deadline."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0
"""Far longer than anything here takes, also on a busy machine: a wait that long has failed."""
_LOOK_S = 0.02


async def until(
    look: Callable[[], Any],
    what: str,
    timeout_s: float = PATIENCE_S,
    every_s: float = _LOOK_S,
    progress: Callable[[], Any] | None = None,
) -> None:
    """Wait until `look` says something true.

    Args:
        look: a function, of either kind.
        what: completes "waited in vain until …".
        progress: the time begins again whenever it gives another value. Give it something that only grows, up to an end.

    Raises:
        AssertionError: it did not within `timeout_s`.
    """
    deadline_s = time.monotonic() + timeout_s
    before = progress() if progress is not None else None
    while True:
        if progress is not None and (now := progress()) != before:
            before, deadline_s = now, time.monotonic() + timeout_s
        seen = look()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen:
            return
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s in vain until {what}; last seen: {seen!r}"
        await asyncio.sleep(every_s)
