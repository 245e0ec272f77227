"""Runs the steps of `deploy/Dockerfile` without a container engine: `python -m deploy.rehearse`.

Each stage begins with the same folder, `build/image/root`, which is empty but for a Python with pip at `usr/local`, as in the
base image; so what a stage installs has the paths that it has in the next one. The copies and the commands are those of the
file. A line that is broken, or an instruction that is not known here, ends the run.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).parent.parent
IMAGE = PROJECT / "build/image"
ROOT = IMAGE / "root"
HEALTHY_S = 60.0
CONFIGURATION = """
[kafka]
bootstrap_servers = ["127.0.0.1:1"]

[[subscriptions]]
name = "orders"
topics = ["orders"]
group = "orders"
delivery = { protocol = "rest", url = "http://127.0.0.1:1/orders" }
"""


class Broken(Exception):
    """A line of the file cannot be run: the message names it."""


@dataclass(slots=True)
class Image:
    """The result of the last stage.

    Attributes:
        environment: variables of the running container.
        command: what it runs, from `CMD`.
        health: its health check, from `HEALTHCHECK`.
        stop_signal: what ends it.
        user: number of the user and of the group.
    """

    environment: dict[str, str] = field(default_factory=lambda: {"PATH": f"{ROOT}/usr/local/bin:/usr/bin:/bin"})
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    stop_signal: str = ""
    user: str = ""
    folder: str = "/"


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the rest of each instruction of a Dockerfile, its continuation lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name, rest.strip()


def rehearse(dockerfile: Path) -> Image:
    """Run all stages, and return the image of the last.

    Raises:
        Broken: a line is wrong, or its command failed.
    """
    shutil.rmtree(IMAGE, ignore_errors=True)
    arguments = {"ROOT": str(ROOT)}
    image, stage = Image(), ""
    for name, rest in instructions(dockerfile.read_text()):
        try:
            if name == "FROM":
                if stage:
                    ROOT.rename(IMAGE / stage)
                stage = rest.rpartition(" AS ")[2]
                image = Image()
                venv.create(ROOT / "usr/local", with_pip=True, symlinks=True)
            else:
                _step(name, rest, image, arguments)
        except (ValueError, OSError, subprocess.CalledProcessError) as error:
            raise Broken(f"{dockerfile.name}: {name} {rest[:60]}…: {error}") from error
    return image


def _step(name: str, rest: str, image: Image, arguments: dict[str, str]) -> None:
    match name:
        case "ARG":
            key, _, value = rest.partition("=")
            arguments.setdefault(key, value)
        case "ENV":
            image.environment |= dict(pair.split("=", 1) for pair in shlex.split(_filled(rest, arguments)))
        case "COPY":
            _copy(shlex.split(_filled(rest, arguments)))
        case "RUN":
            subprocess.run(["/bin/sh", "-c", rest], check=True, env={**image.environment, **arguments}, cwd=ROOT)
        case "WORKDIR":
            image.folder = _filled(rest, arguments)
        case "USER":
            image.user = rest
        case "STOPSIGNAL":
            image.stop_signal = rest
        case "CMD":
            image.command = json.loads(rest)
        case "HEALTHCHECK":
            image.health = json.loads(rest.partition(" CMD ")[2])
        case "EXPOSE":
            if not all(port.isdigit() for port in rest.split()):
                raise ValueError("a port is a number")
        case _:
            raise ValueError("this instruction is not rehearsed")


def _copy(words: list[str]) -> None:
    stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
    *sources, target = words
    for source in sources:
        path = IMAGE / stage / Path(source).relative_to(ROOT) if stage else PROJECT / source
        found = list(path.parent.glob(path.name))
        if not found:
            raise ValueError(f"there is no {source}: `make dist` makes the wheels")
        for path in found:
            if path.is_dir():
                shutil.copytree(path, target, dirs_exist_ok=True, symlinks=True)
            else:
                Path(target).mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)


def _filled(text: str, arguments: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], text)


def start(image: Image) -> float:
    """Run the image's command until it is healthy, end it with its signal, and return the seconds that it took to be healthy.

    Kafka is away meanwhile: a daemon that waits for it is alive.

    Raises:
        Broken: it was never healthy, or did not end well.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    (ROOT / "etc/mps/mps.toml").write_text(CONFIGURATION)
    command = [word.replace("/etc/mps", str(ROOT / "etc/mps")) for word in image.command]
    health = [word.replace("7071", port) for word in image.health]
    environment = image.environment | {"MPS_HTTP_LISTEN": f"127.0.0.1:{port}", "MPS_ADMIN_LISTEN": "127.0.0.1:0"}
    began_s = time.monotonic()
    with (IMAGE / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=image.folder, stdout=log, stderr=log)
        try:
            while subprocess.run(health, env=environment, capture_output=True, check=False).returncode:
                if process.poll() is not None or time.monotonic() - began_s > HEALTHY_S:
                    raise Broken(f"the image is not healthy; {log.name} says why")
            took_s = time.monotonic() - began_s
            process.send_signal(signal.Signals[image.stop_signal])
            if code := process.wait(HEALTHY_S):
                raise Broken(f"after {image.stop_signal} the image ended with {code}; {log.name} says why")
        finally:
            process.kill()
    return took_s


def size_mib(folder: Path) -> float:
    """Return the size of all files below the folder, without what links lead to."""
    return sum(os.lstat(path).st_size for path in folder.rglob("*")) / 2**20


def main() -> None:
    """Rehearse the Dockerfile; ends the process with 1 if a line is broken."""
    try:
        image = rehearse(PROJECT / "deploy/Dockerfile")
        healthy_s = start(image)
    except Broken as broken:
        sys.exit(str(broken))
    for forbidden in ("pip", "gcc", "cc", "make"):
        if (ROOT / "usr/local/bin" / forbidden).exists():
            sys.exit(f"the image has {forbidden}")
    subprocess.run(["mpsctl", "--help"], check=True, env=image.environment, stdout=subprocess.DEVNULL)
    print(f"The image runs {shlex.join(image.command)} as {image.user}; it is healthy after {healthy_s:.1f} s.")
    print(f"Beyond its base image it has {size_mib(ROOT):.0f} MiB.")


if __name__ == "__main__":
    main()
