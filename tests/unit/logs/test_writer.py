"""Lines on their way out, to readers that read, sleep or are gone."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpsd.logs import logging_to
from mpsd.logs.lines import JsonLines
from mpsd.logs.rate_limit import WINDOW_S
from mpsd.logs.writer import LogWriter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(writing)
    os.close(reading)


def event(message: str, **extra: object) -> logging.LogRecord:
    named = {"name": "mpsd.test", "levelno": logging.WARNING, "levelname": "WARNING", "msg": message}
    return logging.makeLogRecord(named | extra)


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_ours_from_the_level_on_and_others_from_warning_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream, logging_to(stream, level="debug"):
        logging.getLogger("mpsd.test").debug("ours", extra={"code": "test.ours"})
        logging.getLogger("aiokafka.test").info("not a word")
        logging.getLogger("aiokafka.test").warning("theirs")
    assert [line["message"] for line in lines_of(path)] == [
        "ours",
        "the Kafka client reports: theirs; it retries by itself",
    ]
    assert lines_of(path)[0]["code"] == "test.ours"


def test_what_was_set_up_before_comes_back(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("mpsd").level
    with (tmp_path / "log").open("w") as stream, logging_to(stream, level="error"):
        assert len(root.handlers) == 1
    assert (root.handlers, root.level, logging.getLogger("mpsd").level) == before


def test_a_dead_broker_is_one_line_and_a_count(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream, logging_to(stream) as logs:
        for _ in range(100):
            logging.getLogger("aiokafka").error("Unable connect to node with id %s", 1)
        assert logs.suppressed == 99
    messages = [line["message"] for line in lines_of(path)]
    assert messages[0] == "the Kafka client reports: Unable connect to node with id 1; it retries by itself"
    assert len(messages) == 2
    assert str(messages[1]).startswith("… 99 more")


def test_counts_are_told_though_nothing_more_happens(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    clock = iter([0.0] * 2 + [WINDOW_S] * 1_000_000)
    writer = LogWriter(writing, JsonLines(), clock=lambda: next(clock), tick_s=0.01)
    for _ in range(2):
        writer.handle(event("again"))
    with os.fdopen(os.dup(reading)) as stream:
        messages = [json.loads(stream.readline())["message"] for _ in range(2)]
    assert messages[-1] == "… 1 more in the last 60 s like: again"
    writer.close()


def test_a_full_pipe_stops_nobody(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = LogWriter(writing, JsonLines(), queue_lines_max=10, close_s=0.01)
    for number in range(200):
        writer.handle(event("x" * 8000, code=f"code{number}"))
    assert writer.suppressed > 100
    writer.close()
    assert "suppressed=" in repr(writer)
    assert b"code0" in os.read(reading, 1_000_000)


def test_a_reader_that_went_away_is_no_error() -> None:
    program = """
import logging
from mpsd.logs import logging_to
with logging_to():
    for number in range(100):
        logging.getLogger("mpsd.test").warning("line", extra={"code": f"code{number}"})
print("alive")
"""
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=writing, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stdout) == (0, b"alive\n")


def test_a_line_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream, logging_to(stream):
        logging.getLogger("mpsd.test").warning("%d records", "many")
    (line,) = lines_of(path)
    assert line["message"] == "a log line could not be made: '%d records'"


@pytest.mark.parametrize(("style", "begins"), [("json", "{"), ("auto", "{"), ("human", "2")])
def test_json_unless_told_otherwise_where_nobody_looks(tmp_path: Path, style: str, begins: str) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream, logging_to(stream, style=style):  # type: ignore[arg-type]
        logging.getLogger("mpsd.test").warning("line")
    assert path.read_text().startswith(begins)


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_human_on_a_terminal_coloured_unless_unwanted(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb") as terminal:
        with logging_to(stream):
            logging.getLogger("mpsd.test").warning("line")
        line = terminal.readline()
    assert b"WARNING" in line
    assert (b"\x1b[" in line) == coloured
