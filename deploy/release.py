"""Builds a release into `dist/` and checks it as a user meets it: `python -m deploy.release [--tag vX.Y.Z]`.

The wheel and the source distribution of the daemon and of the Python client are built. The wheels are installed into an empty
environment, once with the versions of `deploy/runtime.lock`, as the image has them, and then with the extra `demo`, which runs.
Beside them are written the bill of materials (CycloneDX) and the changes of this version.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
INSTALLED = ROOT / "build/release"
TOOLS = ROOT / "build/deploy/bin"
PYTHON = INSTALLED / "bin/python"
PIP = (sys.executable, "-m", "pip", "--python", str(PYTHON), "--quiet", "--disable-pip-version-check")
"""From outside: the environment has no pip, as the image has none."""


class Refused(Exception):
    """The release is not one: the message says why."""


def main() -> None:
    """Build and check; ends the process with 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="make dist", description=__doc__.partition("\n")[0])
    parser.add_argument("--tag", default="", help="the tag that is released, such as v0.1.0: the version has to be its")
    try:
        release(parser.parse_args().tag)
    except Refused as refused:
        sys.exit(f"make dist: {refused}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"make dist: {' '.join(map(str, error.cmd))} ended with {error.returncode}; what it wrote is above")


def release(tag: str) -> None:
    """Build the distributions, and check them.

    Raises:
        Refused: a distribution, its version or its changes are not those of a release.
        subprocess.CalledProcessError: a tool refused; it wrote why.
    """
    began_s = time.monotonic()
    shutil.rmtree(DIST, ignore_errors=True)
    for project in (".", "clients/python"):
        _run("build", sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, project)
    wheels = sorted(DIST.glob("*.whl"))
    version = one_version([wheel.name for wheel in wheels])
    if tag and tag != f"v{version}":
        raise Refused(f"the tag is {tag}, and the version is {version}: change mps_client/__init__.py, or the tag")
    _run("check what an index shows", TOOLS / "twine", "check", "--strict", *DIST.iterdir())
    notes = changes((ROOT / "CHANGELOG.md").read_text(), version if tag else "Unreleased")
    (DIST / "changes.md").write_text(notes)
    shutil.rmtree(INSTALLED, ignore_errors=True)
    venv.create(INSTALLED, with_pip=False)
    _run("install the lock", *PIP, "install", "--no-deps", "--require-hashes", "-r", ROOT / "deploy/runtime.lock")
    names = [f"{name}=={version}" for name in ("kafka-mps", "kafka-mps-client")]
    _run("install the wheels", *PIP, "install", "--no-deps", "--no-index", "--find-links", DIST, *names)
    _run("requirements are met", *PIP, "check")
    for command in ("mpsd", "mpsctl"):
        _run(f"run {command}", PYTHON.with_name(command), "--help", quiet=True)
    _run("import the client", PYTHON, "-c", f"import mps_client; assert mps_client.__version__ == {version!r}")
    _write_materials()
    constraints = INSTALLED / "constraints.txt"
    constraints.write_text(unhashed((ROOT / "requirements.lock").read_text()))
    _run("add the demo", *PIP, "install", "--constraint", constraints, f"kafka-mps[demo]=={version}")
    _run("run the demo", PYTHON.with_name("mpsd"), "demo")
    sizes = [f"{file.name} ({file.stat().st_size / 1024:,.0f} KiB)" for file in sorted(DIST.iterdir())]
    print(f"dist/ has, after {time.monotonic() - began_s:.0f} s:", *sizes, sep="\n  ")


def one_version(wheels: list[str]) -> str:
    """Return the version of all wheels, of which there is one for each distribution.

    Raises:
        Refused: they have several, or one is missing.
    """
    found = dict(name.split("-")[:2] for name in wheels)
    if set(found) != {"kafka_mps", "kafka_mps_client"}:
        raise Refused(f"the wheels are {', '.join(wheels) or 'none'}")
    if len(versions := set(found.values())) != 1:
        raise Refused(f"the wheels have several versions: {', '.join(sorted(versions))}")
    return versions.pop()


def changes(changelog: str, version: str) -> str:
    """Return what the changelog says of the version, without its title.

    Raises:
        Refused: it says nothing of it.
    """
    parts = re.split(r"^## \[([^\]]+)\].*\n", changelog, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True)).get(version, "").strip()
    if not found:
        raise Refused(f"CHANGELOG.md has no section [{version}], or nothing in it: say there what is new")
    return found + "\n"


def unhashed(lock: str) -> str:
    """Return the pins of a lock with their markers, as constraints, which pip takes without hashes only."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?(==[^\\\n]*?)\s*\\?$", lock, re.MULTILINE)
    return "".join(f"{name}{pin}\n" for name, pin in pins)


def _write_materials() -> None:
    materials = DIST / "kafka-mps.cdx.json"
    options = ("--output-reproducible", "--pyproject", ROOT / "pyproject.toml", "--mc-type", "application")
    _run("write the materials", TOOLS / "cyclonedx-py", "environment", *options, "--output-file", materials, PYTHON)


def _run(purpose: str, *command: str | Path, quiet: bool = False) -> None:
    print(f"- {purpose}", flush=True)
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True, stdout=subprocess.DEVNULL if quiet else None)


if __name__ == "__main__":
    main()
