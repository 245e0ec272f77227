"""The running loop's time, as both clocks of the pipeline."""

import asyncio

from mpsd.ports import Clock
from tests.fakes.records import PRODUCED_MS


def loop_clock() -> Clock:
    """The wall clock reads the time at which records are produced when the loop's reads 0."""
    loop = asyncio.get_running_loop()
    return Clock(monotonic_s=loop.time, wall_s=lambda: PRODUCED_MS / 1000 + loop.time())


async def turns(count: int = 10) -> None:
    """Let the loop turn without letting time pass."""
    for _ in range(count):
        await asyncio.sleep(0)
