"""Waiting for a condition without sleeping."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 20.0
"""Far longer than anything here takes, also on a busy machine: a wait that long has failed."""


class Watch:
    """Whoever changes something says so; whoever waits looks again."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()
