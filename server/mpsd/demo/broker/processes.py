"""The starter's end of the guard: broker processes that cannot outlive this one."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from mpsd.demo.broker import guard
from mpsd.demo.broker.errors import BrokerFailed

_CLOSE_TIMEOUT_S = 30.0
_POLL_INTERVAL_S = 0.01


class GuardedProcesses:
    """Processes with one directory, all of which end and go when this object is closed or this process ends.

    May be used from several threads; `close` makes a `start` or `exit_code` of another thread fail with BrokerFailed.
    """

    def __init__(self) -> None:
        self._guard = subprocess.Popen(  # noqa: S603 - our own file, by our own interpreter
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            bufsize=0,  # a request that the guard never got must not be left to send when the pipe is closed
        )
        self._lock = threading.Lock()
        self.directory = Path(self._answer()["directory"])

    @override
    def __repr__(self) -> str:
        return f"<GuardedProcesses guard={self._guard.pid} directory={self.directory}>"

    def start(self, name: str, argv: Sequence[str], *, log: Path) -> int:
        """Begins a process under a name, in place of an ended one of that name, and returns its id.

        Args:
            log: where both its outputs are appended.

        Raises:
            BrokerFailed: it could not be started, or this object is closed.
        """
        return int(self._ask(do="start", name=name, argv=list(argv), log=str(log))["pid"])

    def exit_code(self, name: str) -> int | None:
        """None while the process runs; the negative signal number if a signal ended it."""
        code = self._ask(do="poll", name=name)["exit_code"]
        return None if code is None else int(code)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Signals the process and its children; nothing happens if it has ended."""
        self._ask(do="signal", name=name, signal=int(number))

    def wait(self, name: str, timeout_s: float) -> int | None:
        """Return the exit code, or None if the process still runs after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while (code := self.exit_code(name)) is None and time.monotonic() < deadline_s:
            time.sleep(_POLL_INTERVAL_S)
        return code

    def close(self) -> None:
        """End every process and remove the directory; return when both are done. A second call does nothing."""
        with self._lock:
            assert self._guard.stdin is not None
            assert self._guard.stdout is not None
            self._guard.stdin.close()
            self._guard.stdout.close()
            if self._guard.wait(_CLOSE_TIMEOUT_S) != 0:  # it was killed, and its processes with it, but not their data
                shutil.rmtree(self.directory, ignore_errors=True)

    def _ask(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            assert self._guard.stdin is not None
            try:
                self._guard.stdin.write(json.dumps(request).encode() + b"\n")
            except (BrokenPipeError, ValueError) as error:
                raise BrokerFailed("the brokers have been stopped") from error
            answer = self._answer()
        if "error" in answer:
            raise BrokerFailed(f"the broker's process could not be handled: {answer['error']}")
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._guard.stdout is not None
        line = self._guard.stdout.readline()
        if not line:
            raise BrokerFailed("the process that guards the brokers is gone, and the brokers with it")
        answer: dict[str, Any] = json.loads(line)
        return answer
