"""The two processes that the demo runs beside the broker: the daemon and the sample application."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from mpsd.demo.broker.processes import GuardedProcesses
from mpsd.errors import MpsError

POLL_S = 0.05
LOG_LINES_SHOWN = 20
_STOP_S = 30.0


class ChildEnded(MpsError):  # noqa: N818 - it reads as the sentence it is
    """A process that the demo needs has ended by itself; the message has the end of its log."""

    code = "demo.child_ended"


class ChildLate(MpsError):  # noqa: N818
    """A process that the demo needs did not get ready in time."""

    code = "demo.child_late"


class Child:
    """A process that cannot outlive the demo, however that ends. Its methods take milliseconds and may block so long."""

    def __init__(self, processes: GuardedProcesses, name: str, argv: Sequence[str]) -> None:
        self.name = name
        self.log = processes.directory / f"{name}.log"
        self._processes = processes
        self.pid = processes.start(name, argv, log=self.log)

    @override
    def __repr__(self) -> str:
        return f"<Child {self.name} pid={self.pid}>"

    def check(self) -> None:
        """Raise ChildEnded if the process has ended."""
        if (code := self._processes.exit_code(self.name)) is not None:
            raise ChildEnded(f"{self.name} has ended with {code}; the end of its log:\n{self.log_end()}")

    def log_end(self) -> str:
        """Return the last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES_SHOWN:]) or "  (it wrote nothing)"

    async def says(self, beginning: str, timeout_s: float) -> str:
        """Wait for the first line with this beginning, and return it; warnings of the interpreter may come before.

        Raises:
            ChildEnded: it ended instead.
            ChildLate: it said no such thing within `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            lines = self.log.read_text(errors="replace").splitlines(keepends=True)
            if found := next((line for line in lines if line.startswith(beginning) and line.endswith("\n")), None):
                return found.rstrip()
            self.check()
            await asyncio.sleep(POLL_S)
        raise ChildLate(f"{self.name} was not ready within {timeout_s:g} s; the end of its log:\n{self.log_end()}")

    async def stop(self) -> int | None:
        """Ask it to end and wait until it has; returns the exit code, None if it does not end."""
        self._processes.signal(self.name, signal.SIGTERM)
        return await asyncio.to_thread(self._processes.wait, self.name, _STOP_S)


def application_argv(event_log: Path) -> list[str]:
    """Return the command of the sample application, with -P so that files beside it are no modules to it."""
    return [sys.executable, "-P", str(application_file()), "--log", str(event_log)]


def application_file() -> Path:
    """Return the sample application: beside this file in an installed package, among the examples in a clone."""
    installed = Path(__file__).with_name("application.py")
    if installed.exists():
        return installed
    return Path(__file__).parents[3] / "examples" / "orders" / "application.py"


def daemon_argv(config: Path) -> list[str]:
    """Return the command of the daemon."""
    return [sys.executable, "-m", "mpsd", "--config", str(config)]


def daemon_config(bootstrap_servers: Sequence[str], topic: str, url: str, http_port: int) -> str:
    """Return the daemon's configuration, small enough to be shown."""
    return f"""\
[kafka]
bootstrap_servers = {json.dumps(list(bootstrap_servers))}

[admin]
listen = "127.0.0.1:0"
[http]
listen = "127.0.0.1:{http_port}"
[stream]
listen = "127.0.0.1:0"

[control]
topic = "{topic}.control"
audit_topic = "{topic}.audit"

[[subscriptions]]
name = "orders"
topics = ["{topic}"]
group = "{topic}"

[subscriptions.delivery]
protocol = "rest"
url = "{url}"
concurrency_max = 64

[subscriptions.breaker]
probe_interval_s = 0.5

[subscriptions.dead_letter]
topic = "{dead_letter_topic(topic)}"

[subscriptions.commit]
interval_s = 0.5
"""


def dead_letter_topic(topic: str) -> str:
    """Return the name of the dead-letter topic."""
    return f"{topic}.dlq"
