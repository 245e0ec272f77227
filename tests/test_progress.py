"""The lines that a long run prints, and the order of its files."""

import pytest

from tests.progress import STARTUP_S, Expected, durations, longest_first, spoken
from tests.test_tidy import ROOT

TABLE = {"a": 10.0, "b": 30.0}


def test_a_run_takes_what_its_files_took_shared_by_its_processes() -> None:
    assert Expected({"a": 2, "b": 3}, TABLE, 2).all_s == 20.0
    assert Expected({"quick": 50}, TABLE, 1).all_s == 1.0


def test_what_is_left_goes_by_the_table_at_first_and_then_by_the_speed_of_the_run() -> None:
    expected = Expected({"a": 2, "b": 3}, TABLE, 1)
    expected.ended("a")
    assert expected.left_s(STARTUP_S - 1.0) == 35.0
    assert expected.left_s(STARTUP_S + 5.0) == 35.0 * 5.0
    for file in ("a", "b", "b", "b"):
        expected.ended(file)
    assert expected.left_s(100.0) == pytest.approx(0.0, abs=1e-9)


def test_a_run_of_nothing_has_nothing_left() -> None:
    assert Expected({}, TABLE, 2).left_s(60.0) == 0.0


def test_the_longest_file_begins() -> None:
    assert longest_first(["x", "a", "y", "b", "a"], TABLE) == {"b": 0, "a": 1, "x": 2, "y": 3}


def test_a_duration_is_said_in_minutes() -> None:
    assert [spoken(seconds) for seconds in (5.0, 61.0, 700.0)] == ["half a minute", "1 min", "12 min"]


def test_the_table_has_files_that_are_there() -> None:
    assert [file for file in durations() if not (ROOT / file).is_file()] == []
