"""Checks of what a contributor meets first: `make help`, hooks, the form of a commit, the page of tests, the address."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests import commit_subjects

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def test_make_help_lists_each_target() -> None:
    (declared,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.+)", MAKEFILE, re.MULTILINE)
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    listed = [line.split(maxsplit=1)[0] for line in shown.splitlines()]
    assert sorted(listed) == sorted(declared.replace("\\\n", " ").split())


def test_the_hooks_run_what_make_check_runs() -> None:
    (parts,) = re.findall(r"\$\(SYNC\) ([a-z ]+)$", MAKEFILE, re.MULTILINE)
    called = re.findall(
        r"entry: make --no-print-directory (\w+)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE
    )
    assert sorted(called) == sorted(parts.split())


@pytest.mark.parametrize(
    "subject",
    ["rest: send a header", "dead letters: pass the key", "core, tests: need no clock", "a: " + "b " * 34 + "c"],
)
def test_a_subject_in_form_is_accepted(subject: str) -> None:
    assert commit_subjects.wrong(subject) == ""


@pytest.mark.parametrize(
    ("subject", "complaint"),
    [
        ("Send a header with every request", "form"),
        ("rest: Send a header", "form"),
        ("rest: send", "form"),
        ("rest: send a header.", "form"),
        ('Revert "rest: send a header"', "form"),
        ("rest: added a header", "imperative"),
        ("rest: adding a header", "imperative"),
        ("rest: sends a header", "imperative"),
        ("a: " + "b " * 34 + "cd", "73 characters"),
    ],
)
def test_a_subject_out_of_form_is_refused(subject: str, complaint: str) -> None:
    assert complaint in commit_subjects.wrong(subject)


def test_the_hook_reads_the_first_line_of_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = tmp_path / "COMMIT_EDITMSG"
    message.write_text("\nrest: send a header\n\nBecause applications ask for it.\n")
    assert commit_subjects.main(str(message)) == 0
    message.write_text("wip\n")
    assert commit_subjects.main(str(message)) == 1
    assert "'wip'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("server/mpsd/delivery/rest/request.py", "def opening_headers("),
        ("server/mpsd/delivery/rest/request.py", 'headers["Mps-Subscription"] = percent_encode('),
        ("server/mpsd/delivery/webhooks.py", 'alias="Mps-Subscription"'),
        ("tests/unit/delivery/rest/test_request.py", "def test_an_ordinary_record("),
        ("tests/unit/delivery/rest/test_request.py", '"Mps-Subscription: billing"'),
        ("docs/reference/contract.md", "`Mps-Subscription`"),
    ],
)
def test_the_first_change_begins_where_the_page_says(file: str, name: str) -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert Path(file).name in page
    assert name in (ROOT / file).read_text()


FOLDERS = re.findall(
    r"^\| `([\w/]+)` \| (.*) \| (.*) \|$",
    (ROOT / "tests/README.md").read_text().partition("## To change a folder")[2].partition("\n## ")[0],
    re.MULTILINE,
)


def test_the_page_of_tests_has_each_folder() -> None:
    folders = {folder.split("/")[0] for folder, *_ in FOLDERS}
    packages = {file.parent.name for file in (ROOT / "server/mpsd").glob("*/__init__.py")}
    assert packages <= folders
    assert [
        folder for folder, *_ in FOLDERS if not ((ROOT / "server/mpsd" / folder).is_dir() or (ROOT / folder).is_dir())
    ] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder[0])
def test_the_page_of_tests_names_tests_and_targets_that_exist(folder: tuple[str, str, str]) -> None:
    commands = re.findall(r"`([^`]+)`", " ".join(folder[1:]))
    targets = [command.split()[1] for command in commands if command.startswith("make ")]
    assert [target for target in targets if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)] == []
    paths = [command for command in commands if not command.startswith("make ")]
    assert [path for path in paths if not (ROOT / "tests" / path).exists()] == []


def test_the_files_that_a_change_touches_exist() -> None:
    changes = (ROOT / "tests/README.md").read_text().partition("## Three changes")[2]
    paths = re.findall(r"`((?:server|cli|proto|docs)/[\w./]+)`", changes)
    assert len(paths) >= 12
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_mention_of_the_project_has_its_one_address() -> None:
    files = [
        ROOT / name for name in ("SECURITY.md", "CODE_OF_CONDUCT.md", "clients/python/pyproject.toml", "pyproject.toml")
    ]
    mentions = {
        (file.name, address)
        for file in [*files, *(ROOT / ".github").rglob("*.yml")]
        for address in re.findall(r"https://[\w.]+/[\w-]*mps[\w-]*/[\w-]+", file.read_text())
    }
    assert len(mentions) >= len(files)
    assert {address for _, address in mentions} == {REPOSITORY}
