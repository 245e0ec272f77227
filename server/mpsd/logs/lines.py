"""The form of log lines. An event is one line whatever a message or field contains; only a traceback adds more."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from typing_extensions import override

LINE_CHARS_MAX = 8192
"""Longest message, and longest end of a traceback."""

_NOT_FIELDS = frozenset({*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName"})
_DROPPED = frozenset({"color_message", "key", "value", "headers", "body"})
"""uvicorn's second message; and what is never logged, should it slip in."""

_IN_WORDS = frozenset({"topic", "partition", "offset", "status", "attempt"})
"""Fields for programs, which the message says in words."""

_COLOURS = {
    logging.DEBUG: "2",
    logging.INFO: "32",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "31;1",
}
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x0A: "\\n",
    0x0D: "\\r",
    0x09: "\\t",
}


def fields(record: logging.LogRecord) -> Mapping[str, object]:
    """Return the fields that the caller gave in `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _NOT_FIELDS and name not in _DROPPED}


def message(record: logging.LogRecord) -> str:
    """Return the text with its arguments, cut at the maximum length."""
    text = record.getMessage()
    return text if len(text) <= LINE_CHARS_MAX else f"{text[:LINE_CHARS_MAX]}… ({len(text)} characters)"


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the daemon, then the event's own fields.

    Attributes:
        instance: address of the daemon's admin listener; empty, and absent from lines, until it is known.
    """

    def __init__(self) -> None:
        super().__init__()
        self.instance = ""

    @override
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message(record),
        }
        if self.instance:
            entry["instance"] = self.instance
        for name, value in fields(record).items():
            entry.setdefault(name, value)
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)[-LINE_CHARS_MAX:]
        return json.dumps(entry, ensure_ascii=False, default=str)


class HumanLines(logging.Formatter):
    """Time, level, message, then the fields; a traceback follows, indented."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self.colour = colour

    @override
    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname:<8}"
        if self.colour:
            level = f"\x1b[{_COLOURS.get(record.levelno, '0')}m{level}\x1b[0m"
        line = f"{_time(record)} {level} {message(record).translate(_ESCAPES)}"
        if given := " ".join(f"{name}={value}" for name, value in fields(record).items() if name not in _IN_WORDS):
            line += f" ({given.translate(_ESCAPES)})"
        if record.exc_info:
            trace = self.formatException(record.exc_info)[-LINE_CHARS_MAX:]
            line += "".join(f"\n    {part.translate(_ESCAPES)}" for part in trace.splitlines())
        return line
