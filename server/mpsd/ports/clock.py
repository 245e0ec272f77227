"""The clock and the jitter: stages get time and chance only from here, so that tests can set them."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Functions that return the time and jitter; stages bind them, so that a call costs no attribute lookup.

    Attributes:
        monotonic_s: seconds since some moment; never goes back.
        wall_s: seconds since the epoch.
        jitter: 0 up to 1, drawn at each call.
    """

    monotonic_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time
    jitter: Callable[[], float] = random.random


SYSTEM_CLOCK = Clock()
