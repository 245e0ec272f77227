"""`make mutants`: shows that the simulation would notice; every deliberate bug must be caught by a guarantee."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
SEEDS_MAX = 200
CRASHED = "– the simulation itself ended with"
"""The bug was no trial of the guarantees."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if given.only in mutant.name]
    print("| bug | caught at seed | by |\n|---|---|---|")
    survivors = 0
    with ThreadPoolExecutor(given.processes) as pool:
        for mutant, found in zip(chosen, pool.map(partial(hunt, seeds=given.seeds), chosen), strict=True):
            survivors += not found or found.startswith(CRASHED)
            seed, _, names = found.partition(" ")
            print(f"| {mutant.name} | {seed or '–'} | {names or '**nobody**'} |", flush=True)
    print(f"\n{len(chosen)} bugs, {survivors} not caught within {given.seeds} seeds")
    return bool(survivors)


def hunt(mutant: Mutant, seeds: int) -> str:
    """Return the first seed that breaks a guarantee, and the guarantees; empty if none does."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        shutil.copytree(ROOT / "server", tree / "server", ignore=shutil.ignore_patterns("__pycache__"))
        apply(mutant, tree / "server" / "mpsd")
        paths = [tree / "server", ROOT / "proto", ROOT]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        command = [sys.executable, "-m", "tests.simulation", "--runs", str(seeds), "--until-broken"]
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode and not ran.stdout:
        return f"{CRASHED} {ran.returncode}"
    return ran.stdout.strip()


def apply(mutant: Mutant, package: Path) -> None:
    """Apply a mutant; raise AssertionError if the code has changed and the mutant must follow."""
    for edit in mutant.edits:
        file = package / edit.file
        text = file.read_text()
        assert text.count(edit.old) == 1, f"{mutant.name}: {edit.file} has {edit.old!r} {text.count(edit.old)} times"
        file.write_text(text.replace(edit.old, edit.new))


if __name__ == "__main__":
    sys.exit(main())
