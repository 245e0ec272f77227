"""A daemon of its own process, as an operator meets it: signals in; log, health and metrics out."""

import asyncio
import http.client
import json
import re
import signal
import ssl
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families
from typing_extensions import override

from mpsd.demo.broker.processes import GuardedProcesses
from tests.integration.world.patience import PATIENCE_S, until

_ADDRESSES = re.compile(r"http (?P<http>\S+:\d+), admin (?P<admin>\S+:\d+)(, stream (?P<stream>\S+:\d+))?$")


class Metrics:
    """One reading of /metrics."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """Over all samples of the name that have these labels; 0.0 if there is none."""
        return sum(self.all(name, **labels))

    def all(self, name: str, **labels: str) -> list[float]:
        return [
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= dict(sample.labels).items()
        ]

    def labels(self, name: str, label: str) -> list[str]:
        """Return the values that a label has."""
        return [sample.labels[label] for sample in self._samples if sample.name == name]


class Daemon:
    """Started at once; `ready` waits until it serves.

    Args:
        environment: added to the one that the test runs in.
        run: words to put before the command.
    """

    def __init__(
        self,
        processes: GuardedProcesses,
        name: str,
        config: str,
        environment: Mapping[str, str] | None = None,
        run: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.config = processes.directory / f"{name}.toml"
        self.config.write_text(config)
        self.log_file = processes.directory / f"{name}.log"
        self._processes = processes
        assignments = [f"{key}={value}" for key, value in (environment or {}).items()]
        argv = [*run, *(["env", *assignments] if assignments else []), *mpsd("--config", str(self.config))]
        self.pid = processes.start(name, argv, log=self.log_file)
        self.started_s = time.monotonic()
        self.tls: ssl.SSLContext | None = None
        """The context in which its HTTP listener is called; None in plain text."""
        self.token = ""
        """The token that callers of its HTTP listener show; empty: none."""

    @override
    def __repr__(self) -> str:
        return f"<Daemon {self.name} pid={self.pid}>"

    # what it says
    def log(self) -> list[dict[str, Any]]:
        """Return the log's lines so far; a line that is no JSON, written before the log is set up, as a `message`."""
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return [json.loads(line) if line.startswith("{") else {"message": line} for line in lines]

    def said(self, *words: str) -> bool:
        """Return True if one line has all the words."""
        return any(all(word in line["message"] for word in words) for line in self.log())

    async def ready(self, timeout_s: float = PATIENCE_S) -> "Daemon":
        """Wait until /readyz says so.

        Raises:
            AssertionError: it ended instead, or took too long; with its log.
        """

        async def is_ready() -> bool:
            assert self.exit_code() is None, f"{self} has ended with {self.exit_code()}:\n{self.log_text()}"
            return bool(self._addresses()) and (await self.get("/readyz"))[0] == 200

        await until(is_ready, f"{self} is ready", timeout_s)
        return self

    async def serving(self) -> "Daemon":
        """Wait until it listens, ready or not."""
        await until(self._addresses, f"{self} listens")
        return self

    def _addresses(self) -> dict[str, str]:
        for line in self.log():
            if found := _ADDRESSES.search(line["message"]):
                return found.groupdict()
        return {}

    @property
    def admin_address(self) -> str:
        return self._addresses()["admin"]

    @property
    def stream_address(self) -> str:
        return self._addresses()["stream"]

    @property
    def http_address(self) -> str:
        return self._addresses()["http"]

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        return await asyncio.to_thread(self._get, path)

    def _get(self, path: str) -> tuple[int, str]:
        connection = (
            http.client.HTTPConnection(self.http_address, timeout=10)
            if self.tls is None
            else http.client.HTTPSConnection(self.http_address, timeout=10, context=self.tls)
        )
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"} if self.token else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    async def metrics(self) -> Metrics:
        """Read /metrics, once the daemon listens."""
        await self.serving()
        status, text = await self.get("/metrics")
        assert status == 200
        return Metrics(text)

    def log_text(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    # what it takes
    def rss_mib(self) -> float:
        return float(psutil.Process(self.pid).memory_info().rss) / (1 << 20)

    def cpu_s(self) -> float:
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    # its end
    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._processes.signal(self.name, number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the daemon until the block ends; its connections stay open."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def exit_code(self) -> int | None:
        return self._processes.exit_code(self.name)

    async def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the daemon's end, and return the exit code."""
        await until(lambda: self.exit_code() is not None, f"{self} has ended", timeout_s)
        code = self.exit_code()
        assert code is not None
        return code

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.signal()
        return await self.ended()

    async def kill(self) -> None:
        """SIGKILL; returns when it is dead."""
        self.signal(signal.SIGKILL)
        assert await self.ended() == -signal.SIGKILL


def mpsd(*arguments: str) -> list[str]:
    """Return the command `mpsd` with arguments."""
    return [sys.executable, "-m", "mpsd", *arguments]


async def run_mpsd(*arguments: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """Run it to its end: exit code, standard output, standard error."""
    argv: Sequence[str] = mpsd(*arguments)
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=cwd
    )
    try:
        output, complaint = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(), complaint.decode()
