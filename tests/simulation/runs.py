"""Many seeds, on several processes."""

import multiprocessing
from collections.abc import Iterable, Iterator

from tests.simulation.result import Result
from tests.simulation.story import tell

SEEDS_PER_TASK = 4


def run_all(seeds: Iterable[int], processes: int = 2) -> Iterator[Result]:
    """Yield the results, in the order of the seeds."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(tell, seeds, chunksize=SEEDS_PER_TASK)
