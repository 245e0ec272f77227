"""The report: tables for a terminal, or plain columns."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.cases import Case, Target
from bench.figures import Figures
from bench.offset_maps import Fits
from bench.profile import Profile

PLAIN_WIDTH = 160
COLUMNS = {
    "records_per_s": ("records/s", "{:,.0f}"),
    "cpu_us": ("CPU µs/record", "{:.1f}"),
    "steady_cpu_us": ("without start", "{:.1f}"),
    "busy": ("busy", "{:.0%}"),
    "growth": ("growth", "{:+.0%}"),
    "peak_mib": ("peak MiB", "{:.0f}"),
    "first_s": ("first, s", "{:.2f}"),
    "p50_ms": ("p50 ms", "{:.1f}"),
    "p99_ms": ("p99 ms", "{:.1f}"),
    "on_again_s": ("on again, s", "{:.2f}"),
    "sink_cpu_us": ("sink µs", "{:.1f}"),
}
NOTES = (
    "records/s and CPU: of the daemon, from the first to the last delivery (floor, ceiling: of their client).",
    "without start: CPU after the first tenth of the records, during which the daemon opens its listeners.",
    "busy: CPU time per second; in the rest of the time the daemon waited for Kafka, the sink or the machine.",
    "growth: CPU without start, relative to the base (5 ms on 1 partition: relative to 5 ms on 8).",
    "first: from the start of the process to the first delivery. sink: CPU of the sink, which shares a core with Kafka.",
    "on again: at 2,000 records/s, from the return of the broker until all records are delivered.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A case and the medians of its runs."""

    case: Case
    figures: Figures
    runs: Sequence[Figures]

    def verdicts(self) -> list[tuple[Target, bool]]:
        """Return the targets whose figures were measured, and if each is met."""
        judged = [(target, getattr(self.figures, target.figure)) for target in self.case.targets]
        return [(target, target.is_met(value)) for target, value in judged if value is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All results.

    Attributes:
        about: machine, versions and the like, by name.
        rows: the cases.
        stages: CPU time in µs per record, by stage.
        offset_maps: the capacities of offset maps.
        profile: the profile; None: not measured.
    """

    about: Mapping[str, str]
    rows: Sequence[Row]
    stages: Mapping[str, float]
    offset_maps: Sequence[Fits] = ()
    profile: Profile | None = None

    @property
    def missed(self) -> list[str]:
        return [
            f"{row.case.name}: {describe(target)}"
            for row in self.rows
            for target, is_met in row.verdicts()
            if not is_met
        ]

    def as_json(self) -> dict[str, Any]:
        return {
            "about": dict(self.about),
            "cases": {
                row.case.name: {
                    "medians": asdict(row.figures),
                    "runs": [asdict(run) for run in row.runs],
                    "targets": {describe(target): is_met for target, is_met in row.verdicts()},
                }
                for row in self.rows
            },
            "stages_us": dict(self.stages),
            "offset_maps": [asdict(fits) for fits in self.offset_maps],
            "profile": asdict(self.profile) if self.profile is not None else None,
        }


def describe(target: Target) -> str:
    """Format a target for the table."""
    title, form = COLUMNS[target.figure]
    bound = target.bound - 1 if target.figure == "growth" else target.bound
    aim = f", aim {form.format(target.aim)}" if target.aim is not None else ""
    return f"{title} {'≥' if target.sense == 'min' else '≤'} {form.format(bound)}{aim}"


def show(report: Report, console: Console | None = None) -> None:
    """Print the report."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console = Console(file=console.file, width=PLAIN_WIDTH, highlight=False, color_system=None)
    for name, value in report.about.items():
        console.print(f"{name}: {value}")
    if report.rows:
        console.print(_cases(report.rows, is_plain=not console.is_terminal))
        console.print("\n".join(NOTES))
        console.print()
        console.print(_targets(report.rows, is_plain=not console.is_terminal))
    if report.stages:
        console.print("\nµs of CPU per record, each stage by itself")
        table = _table(("stage", "µs"), is_plain=not console.is_terminal)
        for stage, us in report.stages.items():
            table.add_row(stage, f"{us:.2f}")
        table.add_row("sum", f"{sum(report.stages.values()):.2f}")
        console.print(table)
    if report.offset_maps:
        console.print("\nfinished offsets behind stuck records for which an offset map has room")
        console.print(_offset_maps(report.offset_maps, is_plain=not console.is_terminal))
    if report.profile is not None:
        _show_profile(report.profile, console)


def _cases(rows: Sequence[Row], *, is_plain: bool) -> Table:
    used = [name for name in COLUMNS if any(getattr(row.figures, name) is not None for row in rows)]
    table = _table(("case", "", *(COLUMNS[name][0] for name in used)), is_plain=is_plain)
    for row in rows:
        table.add_row(row.case.name, row.case.title, *(_cell(name, getattr(row.figures, name)) for name in used))
    return table


def _targets(rows: Sequence[Row], *, is_plain: bool) -> Table:
    table = _table(("case", "target", "reached", ""), is_plain=is_plain)
    for row in rows:
        for target, is_met in row.verdicts():
            reached = _cell(target.figure, getattr(row.figures, target.figure))
            verdict = Text("met") if is_met else Text("MISSED", "bold red")
            table.add_row(row.case.name, describe(target), reached, verdict)
    return table


def _offset_maps(rows: Sequence[Fits], *, is_plain: bool) -> Table:
    table = _table(("stuck", "packing", "offsets", "units", "write ms", "read ms"), is_plain=is_plain)
    for row in rows:
        times = (f"{row.encode_ms:.2f}", f"{row.decode_ms:.2f}")
        table.add_row(row.stuck, row.packing, f"{row.offsets:,}", f"{row.units:,}", *times)
    return table


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return COLUMNS[name][1].format(value - 1 if name == "growth" else value)


def _table(columns: Sequence[str], *, is_plain: bool) -> Table:
    table = Table(box=None if is_plain else SIMPLE, pad_edge=False)
    for number, column in enumerate(columns):
        is_word = column in {"", "target"} or not number
        table.add_column(column, justify="left" if is_word else "right", no_wrap=True)
    return table


def _show_profile(profile: Profile, console: Console) -> None:
    is_plain = not console.is_terminal
    console.print(f"\nprofile: {profile.sampled_us:.1f} µs of CPU per record, without imports")
    for title, entries in (("part", profile.parts), ("function", profile.functions), ("line", profile.lines)):
        table = _table((title, "µs"), is_plain=is_plain)
        for name, us in entries:
            table.add_row(name, f"{us:.2f}")
        console.print(table)


def to_stderr(line: str) -> None:
    """Print a line of progress, separate from the report."""
    print(line, file=sys.stderr, flush=True)
