"""The page of the architecture names each package of the daemon, in the order of their layers."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/architecture.md").read_text()


def layers() -> list[set[str]]:
    """Return the packages of each layer, those without imports first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    packages = {file.parent.name for file in (ROOT / "server/mpsd").glob("*/__init__.py")}
    return [packages & set(re.findall(r"\w+", layer)) for layer in reversed(found)]


def test_each_package_comes_after_those_that_it_may_import() -> None:
    named = dict.fromkeys(re.findall(r"`(\w+)/", "".join(re.findall(r"^- \*\*.*?\*\*", PAGE, re.MULTILINE))))
    order = {package: number for number, layer in enumerate(layers()) for package in layer}
    assert named.keys() == order.keys()
    assert sorted(named, key=lambda package: order[package]) == list(named)


def test_diagrams_fit_a_terminal() -> None:
    diagrams = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert diagrams
    assert [line for diagram in diagrams for line in diagram.splitlines() if len(line) > 80] == []
