"""The report of a check of an endpoint: a table on a terminal, plain lines elsewhere, or JSON."""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mpsd.core.outcome import Delivered, code_of
from mpsd.devtools.advice import Advice, answer_body_of, describe, summary
from mpsd.devtools.deliverer import StepResult

PLAIN_WIDTH = 120
COLOURS = {"problem": "red", "hint": "yellow"}


def show(results: Sequence[StepResult], found: Sequence[Advice]) -> None:
    """Print the report on standard output, in colour only on a terminal."""
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    table = Table(box=SIMPLE, show_edge=False, pad_edge=False)
    for title in ("sent", "answered", "ms", "what the proxy would do"):
        table.add_column(title, justify="right" if title == "ms" else "left", overflow="fold")
    for one in results:
        colour = "" if all(isinstance(outcome, Delivered) for outcome in one.outcomes) else "yellow"
        table.add_row(
            one.step.title, _statuses(one), f"{one.took_s * 1000:,.0f}", Text(summary(one.outcomes), style=colour)
        )
    console.print(table)
    for each in found:
        console.print(
            Text(f"{each.level}: ", style=COLOURS[each.level]).append(f"{each.step}: {each.text}", style="default")
        )
        if each.answer_body:
            console.print(Text(f"  the application answered: {each.answer_body}", style="dim"))
    problems = sum(each.level == "problem" for each in found)
    console.print(f"{problems} problem{'' if problems == 1 else 's'}, {len(found) - problems} to consider")


def as_json(url: str, results: Sequence[StepResult], found: Sequence[Advice]) -> dict[str, Any]:
    """Return the report for programs; members are only ever added."""
    return {
        "ok": not any(each.level == "problem" for each in found),
        "url": url,
        "steps": [
            {
                "name": one.step.name,
                "title": one.step.title,
                "took_ms": round(one.took_s * 1000, 3),
                "statuses": [answer.status for answer in one.answers],
                "answer_body": answer_body_of(one),
                "outcomes": [
                    {
                        "outcome": code_of(outcome),
                        "reason": getattr(outcome, "reason", ""),
                        "then": describe(outcome),
                    }
                    for outcome in one.outcomes
                ],
            }
            for one in results
        ],
        "advice": [
            {"level": each.level, "step": each.step, "text": each.text, "answer_body": each.answer_body}
            for each in found
        ],
    }


def _statuses(result: StepResult) -> str:
    counts = Counter(answer.status for answer in result.answers)
    if not counts:
        return "nothing"
    return ", ".join(str(status) if count == 1 else f"{status} ×{count}" for status, count in counts.items())
