"""Output: a terminal with colours, or a pipe with plain text."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, TextIO

from mpsctl.render.page import Line, Page, Style
from mpsctl.views.values import as_json, as_json_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

MOMENT_S = 0.5
"""Time after which a wait is shown."""
WIDTH_MAX = 160
"""Largest width of a page, because wider lines are hard to read."""
STYLES = {
    Style.PLAIN: "",
    Style.TITLE: "dim",
    Style.STRONG: "bold",
    Style.DIM: "dim",
    Style.GOOD: "green",
    Style.WARN: "yellow",
    Style.BAD: "bold red",
}


class Screen:
    """Standard output for the result, and standard error for remarks.

    Args:
        as_json: True to print the result as JSON.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    @property
    def live(self) -> bool:
        """Return True if standard output is a terminal."""
        return not self.as_json and is_terminal(sys.stdout)

    @property
    def width(self) -> int | None:
        """Return the width of the terminal; None in a pipe, which gets whole lines."""
        return console().width if self.live else None

    def show(self, view: object, page: Callable[[], Page]) -> None:
        """Show the result: the view as JSON, or its page."""
        if self.as_json:
            print(as_json(view), flush=True)
        else:
            self.page(page())

    def show_again(self, view: object, page: Callable[[], Page]) -> None:
        """Show one of many results: the view as one line of JSON, or its page."""
        if self.as_json:
            print(as_json_line(view), flush=True)
        else:
            self.page(page())
            print(flush=True)

    def page(self, page: Page) -> None:
        """Show a page on standard output."""
        if self.live:
            to = console()
            for line in page.lines(to.width):
                to.print(styled(line), soft_wrap=True)
        else:
            print(page.text(), end="", flush=True)

    def remark(self, text: str) -> None:
        """Show a line on standard error."""
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show `what` while the block runs, if it takes longer than `MOMENT_S` and standard error is a terminal."""
        if not is_terminal(sys.stderr):
            yield
            return
        shown = console(error=True).status(what)
        late = Timer(MOMENT_S, shown.start)
        late.start()
        try:
            yield
        finally:
            late.cancel()
            late.join()
            shown.stop()


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def console(*, error: bool = False) -> "Console":
    """Return a terminal of at least 40 columns."""
    from rich.console import Console  # noqa: PLC0415 - pipes do without

    to = Console(stderr=error, highlight=False, emoji=False, markup=False)
    to.width = max(40, min(to.width, WIDTH_MAX))
    return to


def styled(line: Line) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    text = Text(no_wrap=True, end="")
    for piece in line:
        text.append(piece.text, STYLES[piece.style])
    return text
