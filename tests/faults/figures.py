"""What the faults cost: a row for each test, printed when the run ends."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple


class Row(NamedTuple):
    """One fault, and what was seen of it."""

    fault: str
    test: str
    figures: Mapping[str, object]


class Figures:
    """Notes of one test.

    Args:
        rows: of the whole run; one is added when a fault is named.
        test: who notes.
    """

    def __init__(self, rows: list[Row], test: str) -> None:
        self._rows = rows
        self._test = test

    def note(self, fault: str, **figures: object) -> None:
        """One row; a figure's unit is the end of its name."""
        self._rows.append(Row(fault, self._test, figures))


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Lines of Markdown, as they stand in docs/explanation/guarantees.md."""
    yield "| fault | test | figures |"
    yield "|---|---|---|"
    for row in rows:
        said = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in row.figures.items())
        yield f"| {row.fault} | `{row.test}` | {said} |"


def _short(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
