"""Waiting for a condition."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

PATIENCE_S = 60.0
"""Far longer than anything here takes, also on a busy machine: a wait that long has failed."""
_LOOK_S = 0.05


class Watch:
    """A wait that ends soon after a change is told, and that does not rely on being told.

    What an adapter or a server does by itself, such as to see that a client has gone, is told by nobody.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._changed.wait()
