"""The last word of the demo: a table for eyes, lines without colour elsewhere, or JSON."""

import json
from dataclasses import asdict
from typing import TextIO

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from mpsd.demo.checks import Findings

WIDTH_MAX = 80


def as_json(findings: Findings, whole_s: float) -> str:
    """One object: the figures, every check with its fault (empty: it holds), and `hold` for all of them."""
    figures = asdict(findings) | {"checks": [check._asdict() for check in findings.checks]}
    return json.dumps({"hold": findings.hold, "whole_s": round(whole_s, 1)} | figures)


def figures_of(findings: Findings, whole_s: float) -> str:
    """Return the figures of the run in two lines."""
    per_second = findings.produced / findings.delivering_s if findings.delivering_s else 0.0
    return (
        f"{findings.produced:,} records: {findings.accepted:,} accepted, {findings.dead_lettered:,} dead-lettered,"
        f" {findings.retried:,} retries\n"
        f"{findings.delivering_s:.1f} s of deliveries with {findings.outage_s:.1f} s of outage"
        f" ({per_second:,.0f}/s), {whole_s:.1f} s in all"
    )


def as_lines(findings: Findings, whole_s: float) -> str:
    """Plain text."""
    lines = [figures_of(findings, whole_s)]
    for check in findings.checks:
        lines.append(f"  {'BROKEN' if check.fault else 'holds '}  {check.promise}")
        if check.fault:
            lines.append(f"          {check.guarantee}: {check.fault}")
    return "\n".join(lines)


def as_table(findings: Findings, whole_s: float) -> Group:
    """For a terminal."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("promise", no_wrap=True)
    table.add_column("seen", no_wrap=True)
    for check in findings.checks:
        table.add_row(check.promise, Text("BROKEN", style="bold red") if check.fault else Text("holds", style="green"))
    faults = [Text(f"{check.guarantee}: {check.fault}\n", style="red") for check in findings.checks if check.fault]
    return Group(table, *faults, Text(figures_of(findings, whole_s)))


def write_summary(findings: Findings, whole_s: float, stream: TextIO) -> None:
    """In the form that the stream can show."""
    console = Console(file=stream, highlight=False)
    if console.is_terminal:
        console.print(as_table(findings, whole_s), width=min(WIDTH_MAX, console.width))
    else:
        stream.write(as_lines(findings, whole_s) + "\n")
