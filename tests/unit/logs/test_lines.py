"""The form of a log line, whatever its content."""

import json
import logging
import sys
from typing import Any

from mpsd.logs.lines import LINE_CHARS_MAX, HumanLines, JsonLines


def event(message: str, *args: object, **extra: object) -> logging.LogRecord:
    named = {"name": "mpsd.delivery", "levelno": logging.WARNING, "levelname": "WARNING", "created": 1_700_000_000.1234}
    return logging.makeLogRecord(named | {"msg": message, "args": args} | extra)


def as_json(record: logging.LogRecord) -> dict[str, Any]:
    line = JsonLines().format(record)
    assert "\n" not in line
    entry = json.loads(line)
    assert isinstance(entry, dict)
    return entry


def failure() -> logging.LogRecord:
    try:
        raise ValueError("no\nluck")
    except ValueError:
        return event("failed", exc_info=sys.exc_info())


def test_json_has_time_level_logger_message_and_the_fields() -> None:
    assert as_json(event("%s timed out", "orders/3@1842", code="delivery.timeout", attempt=2)) == {
        "time": "2023-11-14T22:13:20.123Z",
        "level": "warning",
        "logger": "mpsd.delivery",
        "message": "orders/3@1842 timed out",
        "code": "delivery.timeout",
        "attempt": 2,
    }


def test_human_has_the_same_on_one_line() -> None:
    line = HumanLines(colour=False).format(event("timed out", code="delivery.timeout"))
    assert line == "2023-11-14T22:13:20.123Z WARNING  timed out (code=delivery.timeout)"


def test_colour_is_of_the_level_alone() -> None:
    assert "\x1b[33mWARNING \x1b[0m timed out" in HumanLines(colour=True).format(event("timed out"))


def test_what_others_wrote_cannot_break_the_line_or_steer_the_terminal() -> None:
    record = event("answered %s", "a\nb\x1b[2J\x9b", reason="c\rd")
    assert HumanLines(colour=False).format(record).endswith("answered a\\nb\\x1b[2J\\x9b (reason=c\\rd)")
    assert as_json(record)["message"] == "answered a\nb\x1b[2J\x9b"


def test_keys_and_values_of_records_are_dropped() -> None:
    record = event("settled", key=b"secret-key", value=b"secret-value", headers=[("a", b"secret")], body="secret")
    assert "secret" not in JsonLines().format(record) + HumanLines(colour=False).format(record)


def test_a_field_cannot_take_the_place_of_the_message() -> None:
    assert as_json(event("settled", level="none", time="never"))["level"] == "warning"


def test_a_field_of_any_type_is_written() -> None:
    assert as_json(event("x", what=frozenset({1})))["what"] == "frozenset({1})"


def test_a_traceback_is_a_field_and_for_people_an_indented_block() -> None:
    assert as_json(failure())["traceback"].endswith("ValueError: no\nluck")
    head, *rest = HumanLines(colour=False).format(failure()).splitlines()
    assert head.endswith("WARNING  failed")
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_an_endless_message_is_cut() -> None:
    assert len(as_json(event("x" * 1_000_000))["message"]) < LINE_CHARS_MAX + 100


def test_a_line_for_programs_names_the_daemon_once_it_is_known() -> None:
    lines = JsonLines()
    assert "instance" not in json.loads(lines.format(event("x")))
    lines.instance = "10.0.0.5:7070"
    assert json.loads(lines.format(event("x")))["instance"] == "10.0.0.5:7070"


def test_what_the_words_say_is_a_field_for_programs_alone() -> None:
    record = event("orders/3@7: answered 500", topic="orders", partition=3, offset=7, status=500, attempt=2, code="c")
    said = json.loads(JsonLines().format(record))
    assert [said[name] for name in ("topic", "partition", "offset", "status", "attempt")] == ["orders", 3, 7, 500, 2]
    assert HumanLines(colour=False).format(record).endswith("orders/3@7: answered 500 (code=c)")
