"""What an operator types, and what comes back."""

import json
import platform

import pytest
from typer.testing import CliRunner

from mpsctl import __version__
from mpsctl.__main__ import app


def test_version_names_the_tool_and_its_python() -> None:
    result = CliRunner().invoke(app, ["version"])
    assert (result.exit_code, result.output) == (0, f"mpsctl {__version__} (Python {platform.python_version()})\n")


def test_version_is_there_for_programs_too() -> None:
    result = CliRunner().invoke(app, ["version", "--json"])
    assert json.loads(result.output) == {"mpsctl": __version__, "python": platform.python_version()}


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["version", "--help"]])
def test_help_shows_an_example(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    assert "mpsctl version --json" in result.output


@pytest.mark.parametrize("words", [["vresion"], ["version", "--yaml"], []])
def test_what_it_does_not_know_is_wrong_usage(words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2
