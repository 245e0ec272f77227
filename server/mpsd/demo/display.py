"""The display of the demo: live on a terminal, plain lines elsewhere."""

import time
from typing import NamedTuple, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from typing_extensions import override

PLAIN_INTERVAL_S = 2.0
_LIVE_PER_S = 8


class Moment(NamedTuple):
    """The run at one time.

    Attributes:
        settled: delivered or dead-lettered.
        note: what is special now, such as an outage; empty if nothing is.
    """

    records: int
    delivered: int
    retried: int
    dead_lettered: int
    in_flight: int
    per_second: int
    note: str = ""

    @property
    def settled(self) -> int:
        return self.delivered + self.dead_lettered

    def figures(self) -> str:
        """One line of at most 78 characters, up to ten million records."""
        return (
            f"{self.delivered:>7,} delivered {self.retried:>4,} retried {self.dead_lettered:>3,} dead-lettered "
            f"{self.in_flight:>3,} in flight {self.per_second:>6,}/s"
        )


class Display(Protocol):
    """A display of the run."""

    def say(self, line: str) -> None:
        """Show a step of the run."""

    def show(self, moment: Moment) -> None:
        """Show the figures of the moment, or skip them if the last ones are recent."""

    def close(self) -> None: ...


class PlainDisplay:
    """Lines without colour, one every few seconds while there is news: for files, pipes and CI."""

    def __init__(self, stream: TextIO, interval_s: float = PLAIN_INTERVAL_S) -> None:
        self._stream = stream
        self._interval_s = interval_s
        self._shown_at_s = float("-inf")
        self._shown: Moment | None = None

    @override
    def __repr__(self) -> str:
        return f"<PlainDisplay every {self._interval_s:g} s>"

    def say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def show(self, moment: Moment) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_at_s >= self._interval_s and moment != self._shown:
            self._shown_at_s, self._shown = now_s, moment
            self.say(moment.figures() + (f"  {moment.note}" if moment.note else ""))

    def close(self) -> None:
        """Nothing is held."""


class LiveDisplay:
    """A bar and a line of figures that stay in place on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            BarColumn(bar_width=40), TextColumn("{task.completed:,.0f} of {task.total:,.0f} settled"), TimeElapsedColumn(),
            console=console,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None, visible=False)
        self._live = Live(console=console, refresh_per_second=_LIVE_PER_S, transient=True)
        self._live.start()

    @override
    def __repr__(self) -> str:
        return f"<LiveDisplay of {self._console.width} columns>"

    def say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def show(self, moment: Moment) -> None:
        self._bar.update(self._task, total=moment.records, completed=moment.settled, visible=True)
        self._live.update(Group(self._bar, Text(moment.figures()), Text(moment.note, style="yellow")))

    def close(self) -> None:
        self._live.stop()


def display_for(stream: TextIO) -> Display:
    """Live if the stream is a terminal that can move its cursor."""
    console = Console(file=stream, highlight=False)
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay(stream)
