"""The command `python -m bench`."""

import asyncio
import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated

import typer

from bench.cases import RECORDS, Case, Kind, cases
from bench.daemon import configured
from bench.figures import Figures, medians
from bench.machine import described
from bench.measure import measure
from bench.offset_maps import offset_maps
from bench.profile import profile
from bench.report import Report, Row, show, to_stderr
from bench.stage import Stage, staged
from mpsd.errors import MpsError

STAGES = "stages"
OFFSET_MAPS = "offset-maps"
APART = {
    STAGES: "µs of CPU per record for each stage by itself",
    OFFSET_MAPS: "number of offsets for which an offset map has room, for several patterns",
}
"""Measurements without a daemon, with their titles."""
EPILOG = """\b
Examples:
  python -m bench                          everything: about ten minutes
  python -m bench base zipf floor          some cases
  python -m bench base --repeat 1 --profile base
  python -m bench --list                   the cases and their targets

Exit codes: 0 measured, 1 failed, or a target missed with --strict.
"""

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


@app.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CASE]...", help="Cases to measure; default: all.", show_default=False),
    ] = None,
    records: Annotated[int, typer.Option(min=100, help="Records of the base case.")] = RECORDS,
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each case, in turns; the median counts.")] = 3,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object with every run.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a target is missed.")] = False,
    profiled: Annotated[
        str, typer.Option("--profile", metavar="CASE", help="Also sample the CPU time of the daemon in this case.")
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="List the cases and end.")] = False,
) -> None:
    """Measure the daemon on a real Kafka: speed, CPU, memory, start and latency.

    If the machine has several cores, one core is for the daemon. Kafka, the producer and a sink that answers every POST use
    the others. KAFKA_BOOTSTRAP_SERVERS names another Kafka to use. The cases floor and ceiling show what the machine itself
    allows: on a busy machine, compare the figures with theirs.
    """
    known = {case.name: case for case in cases(records)}
    if list_:
        for case in known.values():
            typer.echo(f"{case.name:<15}{case.title}")
        for name, title in APART.items():
            typer.echo(f"{name:<15}{title}")
        return
    wanted = names or ([*known, *APART] if not profiled else [])
    for name in (*wanted, *([profiled] if profiled else [])):
        if name not in known and name not in APART:
            raise typer.BadParameter(f"no case {name!r}; the cases are {', '.join([*known, *APART])}")
    if profiled and known.get(profiled, known["floor"]).kind is not Kind.THROUGHPUT:
        raise typer.BadParameter(f"{profiled!r} cannot be profiled, because it does not read a full topic")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        report = asyncio.run(_run(known, wanted, repeat, profiled))
    except MpsError as error:
        typer.echo(f"bench: {error}", err=True)
        raise typer.Exit(1) from None
    if json_output:
        typer.echo(json.dumps(report.as_json(), indent=2))
    else:
        show(report)
    if strict and report.missed:
        raise typer.Exit(1)


async def _run(known: dict[str, Case], wanted: list[str], repeat: int, profiled: str) -> Report:
    chosen = [known[name] for name in known if name in wanted]
    runs: dict[str, list[Figures]] = {case.name: [] for case in chosen}
    async with staged(to_stderr) as stage:
        for number in range(1, repeat + 1):  # in turns, so that a busy minute of the machine hits all alike
            for case in chosen:
                runs[case.name].append(figures := await measure(stage, case))
                to_stderr(f"{number}/{repeat} {case.name}: {_said(figures)}")
        return Report(
            about=described(stage.kafka, stage.cores),
            rows=_rows(chosen, runs),
            stages=await _stages(stage, known, repeat) if STAGES in wanted else {},
            offset_maps=offset_maps() if OFFSET_MAPS in wanted else (),
            profile=await profile(stage, known[profiled]) if profiled else None,
        )


def _rows(chosen: Iterable[Case], runs: dict[str, list[Figures]]) -> list[Row]:
    found = {name: medians(figures) for name, figures in runs.items()}
    rows = []
    for case in chosen:
        figures, base = found[case.name], found.get(case.grows_from)
        if base is not None and base.steady_cpu_us and figures.steady_cpu_us:
            figures = replace(figures, growth=figures.steady_cpu_us / base.steady_cpu_us)
        rows.append(Row(case=case, figures=figures, runs=runs[case.name]))
    return rows


async def _stages(stage: Stage, known: dict[str, Case], repeat: int) -> dict[str, float]:
    base = known["base"]
    topic = await stage.topic_of(base.workload)
    runs = []
    for _ in range(repeat):
        config = configured(stage, topic, stage.new_name("group"), base)
        costs = await stage.run_tool("bench.stages", config, base.workload.records, base.workload.value_bytes)
        post = await measure(stage, known["floor"])
        runs.append({**costs, "POST": post.cpu_us or 0.0})
    return {name: sorted(run[name] for run in runs)[(repeat - 1) // 2] for name in runs[0]}


def _said(figures: Figures) -> str:
    values = {name: getattr(figures, name) for name in figures.__slots__}
    return ", ".join(f"{name} {value:,.1f}" for name, value in values.items() if value is not None)


if __name__ == "__main__":
    app()
