"""The fate of each record: as lines while records are delivered, as a table at the end, or as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mpsd.core.outcome import Outcome, code_of

KEY_CHARACTERS_MAX = 20
COLUMNS_MIN = 80
STYLES = {"accepted": "green", "dead letter": "red", "not settled": "yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One delivery of a record.

    Attributes:
        number: of the attempt, from 1; the same again where the delivery before cost none.
    """

    number: int
    outcome: Outcome
    took_s: float

    @property
    def text(self) -> str:
        return "accepted" if code_of(self.outcome) == "delivered" else getattr(self.outcome, "reason", "")


@dataclass(slots=True, kw_only=True)
class Fate:
    """A record of the file and its fate.

    Attributes:
        attempts: its deliveries, whether each cost an attempt or not.
        line: its number among the records of the file, from 1.
        disposition: why it is a dead letter; empty if it is none.
    """

    line: int
    partition: int
    offset: int
    key: bytes | None
    attempts: list[Attempt] = field(default_factory=list)
    disposition: str = ""
    reason: str = ""

    @property
    def state(self) -> str:
        if self.disposition:
            return "dead letter"
        return "accepted" if self.attempts and code_of(self.attempts[-1].outcome) == "delivered" else "not settled"

    @property
    def attempts_counted(self) -> int:
        """Return the attempts that it had: a delivery that cost none, as during an outage, is not one more."""
        return self.attempts[-1].number if self.attempts else 0

    @property
    def shown_attempts(self) -> str:
        """Return the attempts, and how many deliveries they took where some cost none."""
        counted, deliveries = self.attempts_counted, len(self.attempts)
        return str(counted) if counted == deliveries else f"{counted} ({deliveries} deliveries)"

    @property
    def shown_key(self) -> str:
        if self.key is None:
            return "(no key)"
        text = self.key.decode("utf-8", "backslashreplace")
        text = "".join([each if each.isprintable() else f"\\x{ord(each):02x}" for each in text])
        return text if len(text) <= KEY_CHARACTERS_MAX else text[: KEY_CHARACTERS_MAX - 1] + "…"

    @property
    def why(self) -> str:
        """Return the reason for the state, in one line."""
        if self.disposition:
            return f"{self.disposition}: {self.reason}"
        return self.attempts[-1].text if self.attempts and self.state != "accepted" else ""

    def as_json(self) -> dict[str, Any]:
        """Return the fate for programs, in a stable shape."""
        return {
            "record": self.line,
            "partition": self.partition,
            "offset": self.offset,
            "key": None if self.key is None else self.key.decode("utf-8", "backslashreplace"),
            "state": self.state.replace(" ", "_"),
            "attempts_counted": self.attempts_counted,
            "attempts": [
                {
                    "attempt": each.number,
                    "outcome": code_of(each.outcome),
                    "reason": "" if each.text == "accepted" else each.text,
                    "took_s": round(each.took_s, 4),
                }
                for each in self.attempts
            ],
            "disposition": self.disposition,
            "reason": self.reason,
        }


def attempt_line(fate: Fate, attempt: Attempt) -> str:
    """Return the line that is shown when a delivery ends."""
    took = f"{attempt.took_s * 1000:.0f} ms"
    return f"record {fate.line}  {fate.shown_key}  attempt {attempt.number}  {took}  {attempt.text}"


def write_table(fates: Sequence[Fate], stream: TextIO) -> None:
    """Print a table of all records; if there are many, those accepted at the first attempt are only counted."""
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else COLUMNS_MIN)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("record", "key", "attempts", "state", "why"):
        table.add_column(name, justify="right" if name in {"record", "attempts"} else "left", overflow="fold")
    at_once = [fate for fate in fates if fate.state == "accepted" and len(fate.attempts) == 1]
    shown = fates if len(fates) <= SHOWN_ALL_MAX else [fate for fate in fates if fate not in at_once]
    for fate in shown[:SHOWN_MAX]:
        state = Text(fate.state, style=STYLES[fate.state])
        table.add_row(str(fate.line), Text(fate.shown_key), fate.shown_attempts, state, Text(fate.why))
    console.print(table)
    if len(shown) > SHOWN_MAX:
        console.print(f"… and {len(shown) - SHOWN_MAX:,} more; --json has them all")
    if shown is not fates:
        console.print(f"{len(at_once):,} records were accepted at once and are not listed")
    console.print(summary(fates), soft_wrap=True)


SHOWN_ALL_MAX = 50
SHOWN_MAX = 200


def summary(fates: Sequence[Fate]) -> str:
    """Return the counts in one line."""
    count = {state: sum(fate.state == state for fate in fates) for state in STYLES}
    again = sum(fate.attempts_counted > 1 for fate in fates)
    return (
        f"{len(fates):,} records: {count['accepted']:,} accepted, {count['dead letter']:,} dead letters,"
        f" {count['not settled']:,} not settled; {again:,} took more than one attempt"
    )
