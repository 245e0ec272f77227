"""Checks that CI, its weekly run and `make lock` name the Pythons that the project supports, and targets that exist."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLASSIFIERS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
PYTHONS = [text.rpartition(" ")[2] for text in CLASSIFIERS if re.search(r":: 3\.\d+$", text)]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def lists(text: str) -> list[list[str]]:
    """Return each list of Python versions, of YAML or of a shell."""
    return [re.findall(r"3\.\d+", found) for found in re.findall(r'"?3\.\d+"?(?:(?:, *| )"?3\.\d+"?)+', text)]


def jobs(workflow: str) -> dict[str, str]:
    """Return the text of each job by its name."""
    _, *parts = re.split(r"^  (\w+):\n(?=    )", workflow.partition("\njobs:\n")[2], flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_a_list_is_read_from_yaml_and_from_a_shell() -> None:
    assert lists('python: ["3.11", "3.12"]\nfor version in 3.13 3.14; do; uses 3.9') == [
        ["3.11", "3.12"],
        ["3.13", "3.14"],
    ]


@pytest.mark.parametrize(("workflow", "job"), [("ci", "linux"), ("weekly", "installed")])
def test_a_job_runs_on_each_supported_python(workflow: str, job: str) -> None:
    assert lists(jobs((ROOT / f".github/workflows/{workflow}.yml").read_text())[job]) == [PYTHONS]


def test_macos_has_the_oldest_and_the_newest_python() -> None:
    assert lists(jobs((ROOT / ".github/workflows/ci.yml").read_text())["macos"]) == [[PYTHONS[0], PYTHONS[-1]]]


@pytest.mark.parametrize("file", [".ci/run", "Makefile"])
def test_a_loop_goes_over_each_supported_python(file: str) -> None:
    assert lists((ROOT / file).read_text()) == [PYTHONS]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_each_job_has_a_limit_and_calls_targets_that_exist(workflow: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name, text in jobs(workflow.read_text()).items():
        assert "timeout-minutes:" in text, name
        assert set(re.findall(r"run: make ([\w-]+)", text)) <= targets, name
