"""Checks that a lock is closed, and that the floors of `pyproject.toml` are the versions of `floors.lock`.

The install takes what a lock names and resolves nothing, so a requirement that no pin meets would be found by whoever runs into
it. What a locked distribution requires is read from the environment that was made of the lock; `make` notes which lock that was.
"""

import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, cast

import pytest
from packaging.markers import Environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = [text.rpartition(" ")[2] for text in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", text)]
PLATFORMS = [("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64")]
_NOTED = Path(sys.prefix) / ".ready"
LOCK = ROOT / (_NOTED.read_text().strip() if _NOTED.exists() else "requirements.lock")
"""The lock file of which this environment was made."""


class Pin(NamedTuple):
    """One line of a lock."""

    requirement: Requirement
    version: str
    hashes: int


def pins_of(lock: str) -> list[Pin]:
    """Return the pins of a lock's text, in its order."""
    pins = []
    for line in lock.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            text, *hashes = line.split("--hash=")
            requirement = Requirement(text)
            (clause,) = requirement.specifier
            pins.append(Pin(requirement, clause.version, len(hashes)))
    return pins


def environments() -> dict[str, Environment]:
    """Return the values of the markers on each supported Python, beyond what concerns pre-releases of it, and platform."""
    return {
        f"Python {python} on {system} {machine}": Environment(
            implementation_name="cpython", implementation_version=f"{python}.1", os_name="posix", platform_machine=machine,
            platform_python_implementation="CPython", platform_release="", platform_system=system, platform_version="",
            python_full_version=f"{python}.1", python_version=python, sys_platform=platform,
        )
        for python in PYTHONS
        for platform, system, machine in PLATFORMS
    }  # fmt: skip


def applies(requirement: Requirement, environment: Environment, extras: Iterable[str] = ()) -> bool:
    """Return True if the requirement's marker holds there, for the distribution alone or with one of its extras."""
    marker = requirement.marker
    values = cast("dict[str, str]", environment)
    return marker is None or any(marker.evaluate({**values, "extra": extra}) for extra in ("", *extras))


def gaps(
    pins: Sequence[Pin],
    roots: Sequence[str],
    requires: Callable[[str, str], Sequence[str] | None],
    environment: Environment,
) -> list[str]:
    """Return what is wrong with a lock in one environment.

    Args:
        roots: what is asked for.
        requires: the requirements of a distribution by name and version; None if they are not known.
    """
    found = [f"{pin.requirement.name} has no hash" for pin in pins if not pin.hashes]
    pinned: dict[str, str] = {}
    for pin in pins:
        if applies(pin.requirement, environment):
            name = canonicalize_name(pin.requirement.name)
            if name in pinned:
                found.append(f"{name} is pinned twice")
            pinned[name] = pin.version
    reached: dict[str, set[str]] = {}
    to_see = [("the project", Requirement(text), frozenset[str]()) for text in roots]
    while to_see:
        asker, wanted, extras = to_see.pop()
        if not applies(wanted, environment, extras):
            continue
        name = canonicalize_name(wanted.name)
        version = pinned.get(name)
        if version is None:
            found.append(f"{asker} requires {wanted}, which has no pin")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            found.append(f"{asker} requires {wanted}, and {name} is pinned to {version}")
        if name in reached and wanted.extras <= reached[name]:
            continue
        known = reached.setdefault(name, set())
        known |= wanted.extras
        needed = requires(name, version)
        if needed is None:
            found.append(f"{name} {version} is not installed here, so what it requires is not known: run make")
        to_see += [(name, Requirement(text), frozenset(known)) for text in needed or []]
    found += [f"nothing requires {name}, which is pinned" for name in pinned if name not in reached]
    return sorted(set(found))


def installed(name: str, version: str) -> list[str] | None:
    """Return what a distribution of this environment requires; None if it is not here in that version."""
    try:
        here = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return list(here.requires or []) if Version(here.version) == Version(version) else None


def roots() -> list[str]:
    """Return all that a lock is made for: the project, its extra, what work on it takes, and what builds it."""
    project, group = PROJECT["project"], PROJECT["dependency-groups"]["dev"]
    extra, build = project["optional-dependencies"]["demo"], PROJECT["build-system"]["requires"]
    return [*project["dependencies"], *extra, *group, *build]


def untrue_floors(requirements: Iterable[str], pins: Iterable[Pin]) -> list[str]:
    """Return the requirements whose floor is not the version that the lowest resolution came to."""
    pinned = {canonicalize_name(pin.requirement.name): pin.version for pin in pins}
    found = []
    for text in requirements:
        wanted = Requirement(text)
        floors = [Version(clause.version) for clause in wanted.specifier if clause.operator in {">=", "=="}]
        lowest = pinned.get(canonicalize_name(wanted.name))
        if lowest is None or floors != [Version(lowest)]:
            found.append(f"{text}: the lowest that resolves is {lowest}")
    return found


# The rules can fail

HERE = environments()["Python 3.11 on Linux x86_64"]
GOOD = """
app==1.0 \\
    --hash=sha256:aa
    # via the project
backport==2.1 ; python_full_version < '3.12' --hash=sha256:bb
fast==3 --hash=sha256:cc
helper==1.5 --hash=sha256:dd --hash=sha256:ee
"""
REQUIRES = {
    "app": ["Helper[fast]>=1.4", "backport>=2; python_version < '3.12'", "docs; extra == 'doc'"],
    "helper": ["fast>=3,<4; extra == 'fast'", "colour; sys_platform == 'win32'"],
}


def gaps_of(lock: str, *asked: str, environment: Environment = HERE) -> list[str]:
    return gaps(pins_of(lock), asked or ["app>=1"], lambda name, _: REQUIRES.get(name, []), environment)


def test_a_closed_lock_has_no_gap_on_any_python() -> None:
    later = environments()["Python 3.14 on Darwin arm64"]
    assert [gaps_of(GOOD), gaps_of(GOOD, environment=later)] == [[], []]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fast==3 --hash=sha256:cc\n", "", 'helper requires fast<4,>=3; extra == "fast", which has no pin'),
        ("fast==3", "fast==4", 'helper requires fast<4,>=3; extra == "fast", and fast is pinned to 4'),
        ("helper==1.5", "helper==1.3", "app requires Helper[fast]>=1.4, and helper is pinned to 1.3"),
        ("helper==1.5", "helper==1.5 ; sys_platform == 'darwin'", "app requires Helper[fast]>=1.4, which has no pin"),
        ("helper==1.5", "other==1 --hash=sha256:ff\nhelper==1.5", "nothing requires other, which is pinned"),
        ("helper==1.5", "helper==1.4 --hash=sha256:ff\nhelper==1.5", "helper is pinned twice"),
        (" --hash=sha256:cc", "", "fast has no hash"),
        ("python_full_version < '3.12'", "python_full_version < '3.11'", "which has no pin"),
    ],
)
def test_a_lock_that_is_not_closed_is_told(old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert said in "\n".join(gaps_of(GOOD.replace(old, new)))


def test_an_extra_that_is_asked_for_later_is_followed_too() -> None:
    assert gaps_of(GOOD, "helper", "app>=1") == []
    assert "app requires docs" in "\n".join(gaps_of(GOOD, "app", "app[doc]"))


def test_what_is_not_installed_here_is_not_taken_on_trust() -> None:
    (found,) = gaps(pins_of("app==1 --hash=sha256:aa"), ["app"], lambda *_: None, HERE)
    assert "run make" in found


def test_a_floor_that_nothing_installs_is_told() -> None:
    pins = pins_of("app==1.2\nhelper==2")
    assert untrue_floors(["app>=1.2", "helper[x]==2.0; python_version > '3'"], pins) == []
    assert len(untrue_floors(["app>=1.1", "app", "other>=1"], pins)) == 3


# The rules are kept


@pytest.mark.parametrize("where", environments())
def test_the_lock_is_closed(where: str) -> None:
    assert gaps(pins_of(LOCK.read_text()), roots(), installed, environments()[where]) == []


def test_the_floors_are_what_floors_lock_has() -> None:
    """`make floors` installs these and runs the fast tests with them."""
    assert untrue_floors(roots(), pins_of((ROOT / "floors.lock").read_text())) == []
