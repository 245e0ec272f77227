"""Logging: one line an event, for eyes on a terminal and as JSON elsewhere, and never a flood.

Every module logs through `logging.getLogger("mpsd.…")` and names what happened and where in `extra`:
`log.warning("…", extra={"code": "delivery.timeout", "subscription": name})`. Of one cause a few lines are written per
window, then a count of those left out. Keys and values of records are never logged.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

from mpsd.logs.lines import HumanLines, JsonLines
from mpsd.logs.writer import LogWriter

__all__ = ["LogWriter", "logging_to", "set_level"]

Style = Literal["auto", "human", "json"]
Level = Literal["debug", "info", "warning", "error"]


@contextmanager
def logging_to(stream: TextIO | None = None, *, style: Style = "auto", level: Level = "info") -> Iterator[LogWriter]:
    """Log to the stream (standard error) within the context; what was set up before comes back behind it.

    Args:
        style: auto is human on a terminal and JSON elsewhere.
        level: of our own loggers; other libraries speak from WARNING on.
    """
    target = stream or sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process
    root, ours = logging.getLogger(), logging.getLogger("mpsd")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    writer = LogWriter(target.fileno(), _lines(style, target))
    root.handlers[:] = [writer]
    set_level(level)
    logging.captureWarnings(capture=True)
    try:
        yield writer
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        writer.close()


def set_level(level: Level) -> None:
    """Leave out what is below a level: of our own loggers all of it, of other libraries what is below WARNING as well."""
    logging.getLogger().setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    logging.getLogger("mpsd").setLevel(level.upper())


def _lines(style: Style, stream: TextIO) -> logging.Formatter:
    terminal = stream.isatty()
    if style == "json" or (style == "auto" and not terminal):
        return JsonLines()
    return HumanLines(colour=terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")
