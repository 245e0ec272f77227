"""`mpsd demo`, as a person runs it: it shows, it checks, and it leaves nothing behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest

from mpsd.demo.asking import post
from mpsd.demo.children import application_argv
from mpsd.demo.guarantees import read_events
from mpsd.demo.guarantees.events import OutageBegan, OutageEnded

pytestmark = pytest.mark.integration

DEADLINE_S = 120.0
DEMO = [sys.executable, "-m", "mpsd", "demo"]
AllEnded = Callable[[Iterable[psutil.Process]], bool]


@contextmanager
def demo(kafka_bootstrap: list[str], tmp_path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a demo with a folder for its temporary files; end it at the latest with the block."""
    environment = os.environ | {"KAFKA_BOOTSTRAP_SERVERS": ",".join(kafka_bootstrap), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [*DEMO, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_until(stream: IO[str] | None, word: str) -> list[str]:
    """Return the lines up to the first one with the word."""
    lines: list[str] = []
    assert stream
    for line in stream:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError(f"never said {word!r}:\n{''.join(lines)}")


def test_every_promise_is_kept(kafka_bootstrap: list[str], tmp_path: Path) -> None:
    with demo(kafka_bootstrap, tmp_path, "--records", "2000", "--json") as process:
        output, progress = process.communicate(timeout=DEADLINE_S)
    said = json.loads(output)
    assert said["hold"], said["checks"]
    assert process.returncode == 0
    assert (said["produced"], said["accepted"], said["dead_lettered"]) == (2000, 1998, 2)
    assert said["outage_s"] >= 2.0
    assert said["retried"] >= 10, "one whose failure fell into the outage fails once more"
    assert "\x1b" not in progress
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_everything(kafka_bootstrap: list[str], tmp_path: Path, all_ended: AllEnded) -> None:
    with demo(kafka_bootstrap, tmp_path, "--records", "1000", "--keep") as process:
        lines_until(process.stdout, "Everything goes on until Ctrl-C")
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3  # guard, application, daemon
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0
        assert all_ended(children)
    assert not list(tmp_path.iterdir())


def test_a_killed_demo_leaves_no_process(kafka_bootstrap: list[str], tmp_path: Path, all_ended: AllEnded) -> None:
    with demo(kafka_bootstrap, tmp_path, "--records", "100000") as process:
        lines_until(process.stdout, "mpsd is ready")
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        assert all_ended(children)
    assert not list(tmp_path.iterdir())


def test_a_daemon_that_dies_fails_the_demo_with_its_log(kafka_bootstrap: list[str], tmp_path: Path) -> None:
    with demo(kafka_bootstrap, tmp_path, "--records", "100000") as process:
        (said,) = lines_until(process.stdout, "mpsd is ready")[-1:]
        os.kill(int(said.split("process ")[1].rstrip(")\n")), signal.SIGKILL)
        _, complaint = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "mpsd has ended with -9; the end of its log:" in complaint
    assert not list(tmp_path.iterdir())


def test_too_little_to_show_is_refused(kafka_bootstrap: list[str], tmp_path: Path) -> None:
    with demo(kafka_bootstrap, tmp_path, "--records", "3") as process:
        _, complaint = process.communicate(timeout=DEADLINE_S)
    assert process.returncode != 0
    assert "at least 10 records" in complaint


async def test_the_application_comes_back_at_its_address(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    process = await asyncio.create_subprocess_exec(*application_argv(log), stdout=subprocess.PIPE)
    try:
        assert process.stdout
        address = (await process.stdout.readline()).decode().strip()
        outage = address.removesuffix("/orders") + "/outage?seconds=0.2"
        assert await post(outage) == "away for 0.2 s\n"
        async with asyncio.timeout(DEADLINE_S):
            while await post(outage) is not None:
                pass  # it finishes what has come
            while await post(outage) is None:
                assert process.returncode is None
    finally:
        process.kill()
        await process.wait()
    seen = [type(event) for event in read_events(log.read_text().splitlines())]
    assert seen == [OutageBegan, OutageEnded, OutageBegan]
