"""Many seeds, on several processes."""

import gc
import multiprocessing
from collections.abc import Iterable, Iterator

from tests.simulation.result import Result
from tests.simulation.story import tell

SEEDS_PER_TASK = 4
GARBAGE = (50_000, 20, 20)
"""Thresholds of the collector: with Python's own a run spends a sixth of its time on looking for garbage."""


def run_all(seeds: Iterable[int], processes: int = 2) -> Iterator[Result]:
    """Yield the results, in the order of the seeds."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, initializer=gc.set_threshold, initargs=GARBAGE) as pool:
        yield from pool.imap(tell, seeds, chunksize=SEEDS_PER_TASK)
