"""The running loop's time, as both clocks of the pipeline, and back-offs at their full length."""

import asyncio

from mpsd.ports import Clock
from tests.fakes.records import PRODUCED_MS


def loop_clock() -> Clock:
    """Return clocks that follow the loop; at 0 the wall clock shows the time at which records are produced."""
    loop = asyncio.get_running_loop()
    return Clock(monotonic_s=loop.time, wall_s=lambda: PRODUCED_MS / 1000 + loop.time(), jitter=lambda: 1.0)


async def turns(count: int = 10) -> None:
    """Let the loop turn without letting time pass."""
    for _ in range(count):
        await asyncio.sleep(0)
