"""`python -m tests.simulation`: run seeds, or replay one."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.simulation.runs import run_all
from tests.simulation.story import tell


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one, with its trace")
    parser.add_argument("--runs", type=int, default=500, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--hash", action="store_true", help="print only the trace's hash")
    parser.add_argument("--until-broken", action="store_true", help="stop at the first broken guarantee; one process")
    given = parser.parse_args()
    if given.until_broken:
        return _until_broken(range(given.first, given.first + given.runs))
    if given.seed is not None:
        result = tell(given.seed, keep_trace=not given.hash)
        print("\n".join(result.trace) if not given.hash else result.digest)
        print(
            *(f"{name} broken: {words}" for name, words in result.broken.items()),
            sep="\n",
            end="\n"[: len(result.broken)],
        )
        return bool(result.broken)
    began_s = time.perf_counter()
    faults: Counter[str] = Counter()
    acts: Counter[str] = Counter()
    failed = 0
    for result in run_all(range(given.first, given.first + given.runs), given.processes):
        faults.update(result.faults)
        acts.update(result.acts)
        for name, words in result.broken.items():
            print(f"seed {result.seed}: {name}: {words}\n    make simulate SEED={result.seed}")
        failed += bool(result.broken)
    took_s = time.perf_counter() - began_s
    print(f"{given.runs} seeds in {took_s:.0f} s, {given.runs / took_s:.1f} a second; {failed} failed")
    for happened in (faults, acts):
        print(", ".join(f"{count} × {what}" for what, count in happened.most_common()))
    return bool(failed)


def _until_broken(seeds: Iterable[int]) -> bool:
    for seed in seeds:
        if broken := tell(seed).broken:
            print(seed, ", ".join(broken))
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
