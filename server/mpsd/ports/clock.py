"""The clock: stages read time only through it, so that tests can set it."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Two functions that return the time; stages bind them, so that a call costs no attribute lookup.

    Attributes:
        monotonic_s: seconds since some moment; never goes back.
        wall_s: seconds since the epoch.
    """

    monotonic_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time


SYSTEM_CLOCK = Clock()
