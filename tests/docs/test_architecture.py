"""The page of the architecture names each package of the daemon in the order of the layers, and each seat of a delivery."""

import re
import tomllib
from pathlib import Path

from mpsd.core.delivery import Seat
from mpsd.core.lanes import TRANSITIONS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/architecture.md").read_text()


def layers() -> list[set[str]]:
    """Return the packages of each layer, those without imports first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["mpsd"]]
    packages = {file.parent.name for file in (ROOT / "server/mpsd").glob("*/__init__.py")}
    return [packages & set(re.findall(r"\w+", layer)) for layer in reversed(found)]


def test_each_package_comes_after_those_that_it_may_import() -> None:
    named = dict.fromkeys(re.findall(r"`(\w+)/", "".join(re.findall(r"^- \*\*.*?\*\*", PAGE, re.MULTILINE))))
    order = {package: number for number, layer in enumerate(layers()) for package in layer}
    assert named.keys() == order.keys()
    assert sorted(named, key=lambda package: order[package]) == list(named)


def test_each_seat_is_shown_with_the_seats_that_may_follow_it() -> None:
    rows = re.findall(r"^\| ([a-z -]+) \| .+ \| (?:([a-z, -]+) )?\|$", PAGE, re.MULTILINE)
    shown = {seat: set(filter(None, follow.split(", "))) for seat, follow in rows if seat in list(Seat)}
    moves = [pair for row in TRANSITIONS.values() for pair in row.items()]
    assert shown == {seat.value: {after.value for before, after in moves if before is seat} for seat in Seat}


def test_diagrams_fit_a_terminal() -> None:
    diagrams = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert diagrams
    assert [line for diagram in diagrams for line in diagram.splitlines() if len(line) > 80] == []
