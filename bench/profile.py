"""The CPU time of a record by module, from samples of the daemon under load."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.cases import Case
from bench.measure import throughput
from bench.sampler import LOOP, CodePosition
from bench.stage import Stage

TOP = 30
LINES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The CPU time in µs per record, the largest first.

    Attributes:
        parts: the parts of the daemon.
        functions: the functions of Python, with the C functions that they call.
        lines: the lines of Python.
    """

    sampled_us: float
    parts: list[tuple[str, float]]
    functions: list[tuple[str, float]]
    lines: list[tuple[str, float]]


async def profile(stage: Stage, case: Case) -> Profile:
    """Run the case once under `bench.sampler`."""
    output = stage.measured.directory / f"{stage.new_name('samples')}.json"
    await throughput(stage, case, sampled_into=output)
    return read(output, case.workload.records)


def read(output: Path, records: int) -> Profile:
    """Read the file of the sampler."""
    report = json.loads(output.read_text())
    us = report["cpu_s"] / report["samples"] / records * 1e6
    counts = Counter({CodePosition(*position): count for *position, count in report["counts"]})
    return Profile(
        sampled_us=counts.total() * us,
        parts=_largest(counts, us, _part),
        functions=_largest(counts, us, lambda position: f"{_module(position.file)}.{position.function}")[:TOP],
        lines=_largest(counts, us, lambda position: f"{_module(position.file)}:{position.line} {position.function}")[
            :LINES
        ],
    )


def _largest(counts: Counter[CodePosition], us: float, name: Callable[[CodePosition], str]) -> list[tuple[str, float]]:
    sums: Counter[str] = Counter()
    for position, count in counts.items():
        sums[name(position)] += count
    return [(what, count * us) for what, count in sums.most_common()]


def _module(file: str) -> str:
    parts = Path(file).with_suffix("").parts
    return ".".join(parts[-2:])


def _part(position: CodePosition) -> str:
    if position.file == LOOP:
        return "event loop: waiting, receiving, calling back"
    for folder, name in (
        ("aiokafka", "aiokafka"),
        ("mpsd/kafka", "kafka"),
        ("mpsd/delivery/rest", "REST adapter, sending included"),
        ("mpsd/pipeline", "pipeline"),
        ("mpsd/core", "core"),
        ("mpsd/", "rest of mpsd"),
        ("asyncio/", "asyncio"),
    ):
        if f"/{folder}" in position.file:
            return name
    return "other libraries"
