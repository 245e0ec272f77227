"""The pages do what they show: their commands run, from top to bottom, against a real Kafka."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpsd.demo.broker.ports import free_ports
from tests.docs.blocks import PAGES, ROOT, Block, blocks, missing

pytestmark = pytest.mark.integration

PORTS = re.compile(r"\b(?:9092|8000|7070|7071|7072)\b")
"""Ports of the pages; each becomes a free one."""
DEADLINE_S = 30.0
RUNNING = [page for page in PAGES if any(block.words.keys() & {"run", "poll"} for block in blocks(page.read_text()))]


class Reader:
    """Somebody who does what a page says, in an empty directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = dict(zip(["9092", "8000", "7070", "7071", "7072"], map(str, free_ports(5)), strict=True))
        self._environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "MPS_LOGGING_FORMAT": "human",
            "MPS_ADMIN_LISTEN": f"127.0.0.1:{self._ports['7070']}",
            "MPSCTL_ADDRESS": f"127.0.0.1:{self._ports['7070']}",
            "MPS_HTTP_LISTEN": f"127.0.0.1:{self._ports['7071']}",
            "MPS_STREAM_LISTEN": f"127.0.0.1:{self._ports['7072']}",
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._last = self._said = ""
        self._may_repeat = False

    def follow(self, block: Block) -> None:
        """Do what the block says; raises AssertionError where the page is wrong."""
        text = PORTS.sub(lambda port: self._ports[port[0]], block.text)
        match block.words:
            case {"file": name}:
                (self._directory / name).write_text(text)
            case {"background": name}:
                self._start(name, text)
            case {"run": _} | {"poll": _}:
                self._last, self._may_repeat = text, "poll" in block.words
                self._said = self._run(text, may_fail=self._may_repeat)
            case {"end": name}:
                assert (code := self._end(name)) == 0, f"{name} ended with {code}"
            case {"output": name}:
                self._expect(text, name)
            case _:
                pass

    def logs(self) -> str:
        """Return the output of everything in the background."""
        return "\n".join(f"{name}:\n{(self._directory / f'{name}.log').read_text()}" for name in self._running)

    def leave(self) -> None:
        """End what runs, the last first, as Ctrl-C in each terminal would."""
        for name in reversed(self._running):
            self._end(name)

    def _end(self, name: str) -> int:
        process = self._running[name]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            return process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    def _start(self, name: str, command: str) -> None:
        with (self._directory / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                cwd=self._directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _run(self, command: str, *, may_fail: bool) -> str:
        done = subprocess.run(
            ["/bin/sh", "-ec", command],
            cwd=self._directory,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert may_fail or done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _expect(self, shown: str, name: str) -> None:
        """Wait for what is shown, for as long as it may still come."""
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            may_come = time.monotonic() < deadline_s and self._may_say_more(name)
            said = (self._directory / f"{name}.log").read_text() if name else self._said
            if not (lacking := missing(shown, said)):
                return
            assert may_come, f"shown but not said: {lacking}; said was:\n{said}"
            time.sleep(0.05)
            if not name:
                self._said = self._run(self._last, may_fail=True)

    def _may_say_more(self, name: str) -> bool:
        return self._running[name].poll() is None if name else self._may_repeat


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.leave()


@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_does_what_it_shows(page: Path, reader: Reader) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        try:
            reader.follow(block)
        except AssertionError as error:
            raise AssertionError(f"{page.relative_to(ROOT)}, line {block.line}: {error}\n{reader.logs()}") from None
