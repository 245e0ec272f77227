"""Seeds of the simulation, judged by the guarantees; each failure names the command that replays it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.result import Result
from tests.simulation.runs import run_all

SEEDS = 200
"""Each week there are ten times as many: see `.github/workflows/weekly.yml`."""
SEEDS_PER_TEST = 50
"""Few enough that a test ends in good time on a slow machine."""
ROOT = Path(__file__).parents[2]


def complaints(result: Result) -> list[str]:
    """Return the faults of a run; a run that tried nothing is one."""
    small = {
        "settled": result.settled < 2_000,
        "faults": result.faults.total() < 4,
        "rebalances": result.generations < 3,
    }
    return [f"{name}: {words}" for name, words in result.broken.items()] + [
        f"too few {what}" for what, is_small in small.items() if is_small
    ]


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_every_guarantee_holds_under_faults(first: int) -> None:
    failed = [
        f"make simulate SEED={result.seed}  # {'; '.join(wrong)}"
        for result in run_all(range(first, first + SEEDS_PER_TEST))
        if (wrong := complaints(result))
    ]
    assert not failed, "\n" + "\n".join(failed)


@pytest.mark.parametrize("seed", [0, 137])
def test_one_seed_gives_one_trace(seed: int) -> None:
    def trace_hash(hash_seed: str) -> str:
        command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--hash"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert trace_hash("1") == trace_hash("2") != ""
