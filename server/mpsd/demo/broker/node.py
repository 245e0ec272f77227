"""One broker process: begun, awaited, stopped, frozen, begun again on the same data."""

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from mpsd.demo.broker.distribution import Distribution
from mpsd.demo.broker.errors import BrokerFailed, PortTaken
from mpsd.demo.broker.processes import GuardedProcesses
from mpsd.demo.broker.properties import render
from mpsd.demo.broker.storage import write_formatted

_STARTED = b"Kafka Server started"  # logged when the broker is unfenced and its listeners take requests
_PORT_TAKEN = b"Address already in use"
_POLL_INTERVAL_S = 0.01
_STOP_TIMEOUT_S = 20.0
_ERROR = " ERROR "
_EXCERPT_LINES = 25

_LOGGING = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",  # hundreds of settings at every start
)
# One compiler tier and one collector thread: a development broker that starts fast and leaves the cores to what is developed.
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def java_options(directory: Path, *, heap_mib: int, full_compiler: bool) -> list[str]:
    """Return the options of the JVM, which puts its temporary files into `directory`."""
    return [
        f"-Xmx{heap_mib}m",
        *(() if full_compiler else _QUICK),
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        f"-Djava.io.tmpdir={directory}",
        "-Djava.net.preferIPv4Stack=true",
        *_LOGGING,
    ]


class Node:
    """A broker and its directory, which holds `server.properties`, the data and the log."""

    def __init__(
        self, name: str, *, distribution: Distribution, processes: GuardedProcesses, options: Sequence[str]
    ) -> None:
        self.name = name
        self.directory = processes.directory / name
        self.log_file = self.directory / "server.log"
        self._processes = processes
        self._command = distribution.command("kafka.Kafka", [str(self.directory / "server.properties")], options)
        self._log_start = 0
        """The place in the log at which the present run begins."""

    @override
    def __repr__(self) -> str:
        return f"<Node {self.name} in {self.directory}>"

    def lay_out(self, properties: Mapping[str, str], *, cluster_id: str, checkpoint: Path) -> None:
        """Write the directory of a node that has never run."""
        self.directory.mkdir()
        (self.directory / "server.properties").write_text(render(properties), encoding="utf-8")
        node, log_dir = int(properties["node.id"]), Path(properties["log.dirs"])
        write_formatted(log_dir, node=node, cluster_id=cluster_id, checkpoint=checkpoint)

    @property
    def log_dir(self) -> Path:
        return self.directory / "data"

    def begin(self) -> None:
        """Start the process and return at once."""
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        self._processes.start(self.name, self._command, log=self.log_file)

    def wait_until_started(self, timeout_s: float) -> None:
        """Wait until the broker takes requests.

        Raises:
            PortTaken: one of its ports is in use.
            BrokerFailed: it ended, or `timeout_s` are over; the message has an excerpt of its log.
        """
        deadline_s = time.monotonic() + timeout_s
        while _STARTED not in self._log():
            if (code := self.exit_code()) is not None:
                failure = PortTaken if _PORT_TAKEN in self._log() else BrokerFailed
                raise failure(f"{self.name} ended with {code} while it started\n{self.log_excerpt()}")
            if time.monotonic() > deadline_s:
                raise BrokerFailed(f"{self.name} has not started within {timeout_s:g} s\n{self.log_excerpt()}")
            time.sleep(_POLL_INTERVAL_S)

    def exit_code(self) -> int | None:
        return self._processes.exit_code(self.name)

    def stop(self, *, kill: bool, timeout_s: float = _STOP_TIMEOUT_S) -> None:
        """End the process and return when it is gone: killed at once, or terminated and killed after `timeout_s`."""
        self.thaw()
        if not kill:
            self._processes.signal(self.name, signal.SIGTERM)
            if self._processes.wait(self.name, timeout_s) is not None:
                return
        self._processes.signal(self.name, signal.SIGKILL)
        self._processes.wait(self.name, _STOP_TIMEOUT_S)

    def freeze(self) -> None:
        """Stop the process where it is, as a long pause of the machine would."""
        self._processes.signal(self.name, signal.SIGSTOP)

    def thaw(self) -> None:
        self._processes.signal(self.name, signal.SIGCONT)

    def log_excerpt(self) -> str:
        """Return the part of this run's log about a failure: from its first error on, or its end if there is none."""
        lines = self._log().decode(errors="replace").splitlines()
        error = next((number for number, line in enumerate(lines) if _ERROR in line), len(lines) - _EXCERPT_LINES)
        excerpt = lines[max(0, error) :][:_EXCERPT_LINES]
        return "\n".join(["from its log:", *(f"  {line}" for line in excerpt)])

    def _log(self) -> bytes:
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read()
