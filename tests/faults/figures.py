"""The cost of faults: a row for each test, printed when the run ends."""

from collections.abc import Iterable, Iterator, Mapping

from docs.markdown import item

PROPERTY = "figures"
"""Under this name a test's report carries its row, from whichever process ran it."""


class Figures:
    """Notes of one test.

    Args:
        properties: of the test's report; one is added when a fault is named.
        test: who notes.
    """

    def __init__(self, properties: list[tuple[str, object]], test: str) -> None:
        self._properties = properties
        self._test = test

    def note(self, fault: str, **figures: object) -> None:
        """One row; a figure's unit is the end of its name."""
        self._properties.append((PROPERTY, _row(fault, self._test, figures)))


def markdown(properties: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Return the rows as items of a list, like those in docs/explanation/guarantees.md."""
    yield from (str(value) for name, value in properties if name == PROPERTY)


def _row(fault: str, test: str, figures: Mapping[str, object]) -> str:
    said = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in figures.items())
    return item(f"**{fault}**: {said}. `{test}`")


def _short(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
