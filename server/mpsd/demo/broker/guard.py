"""Runs the brokers, and ends them and removes their data when whoever asked for them is gone, however it went.

Theory of operation: the starter runs this file as a process of its own and talks to it over two pipes. When the starter
ends, be it by `return`, an exception, SIGTERM or `kill -9`, the kernel closes the write end of the first pipe; the guard
reads end-of-file, kills every process group that it began and removes the directory that it made. That is also
the ordinary way to stop, so the way that matters in a crash is the one that runs every day. Brokers are killed, not asked:
what a clean shutdown would save is about to be deleted.

Why a guard and not PR_SET_PDEATHSIG alone: that exists on Linux only, fires when the *thread* that forked ends
(a pytest worker, `asyncio.to_thread`), and removes no directory. It is used as the second net: should the guard itself be
killed, its brokers die with it, and it forks from its only thread.

The guard and each broker have a session of their own, so that Ctrl-C in the terminal reaches the starter alone. A child
that the starter forks without exec keeps the pipe open: its brokers then live as long as that child.

The file imports nothing but the standard library: it is run with `-I -S`, in about 50 ms.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

_PR_SET_PDEATHSIG = 1
_STOP_TIMEOUT_S = 2.0
_POLL_INTERVAL_S = 0.005
# Options from the environment that would change the JVM under us, and with it the validity of the AOT cache.
_JAVA_ENVIRONMENT = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")


class Guard:
    """The processes of one cluster, by name. Each request is answered at once, with one object."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._die_with_guard = _die_with_parent()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"do": "start", "name": str(name), "argv": list(argv), "log": str(log)}:
                return self._start(name, argv, Path(log))
            case {"do": "signal", "name": str(name), "signal": int(number)}:
                return self._signal(name, number)
            case {"do": "poll", "name": str(name)}:
                return {"exit_code": self._processes[name].poll()}
            case _:
                return {"error": f"unknown request {request}"}

    def _start(self, name: str, argv: list[str], log: Path) -> dict[str, Any]:
        environment = {key: value for key, value in os.environ.items() if key not in _JAVA_ENVIRONMENT}
        with log.open("ab") as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - argv is the starter's own
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self._directory,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=self._die_with_guard,  # noqa: PLW1509 - this process has one thread
                )
            except OSError as error:
                return {"error": str(error)}
        self._processes[name] = process
        return {"pid": process.pid}

    def _signal(self, name: str, number: int) -> dict[str, Any]:
        process = self._processes[name]
        if process.poll() is None:
            os.killpg(process.pid, number)
            if number == signal.SIGSTOP:
                _await_stop(process.pid)
        return {"exit_code": process.poll()}

    def close(self) -> None:
        """Kills what still runs, with its children, and removes the data."""
        for process in self._processes.values():
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes.values():
            process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


def _await_stop(pid: int) -> None:
    """Wait until all threads are stopped: on a busy machine a broker still answered requests that came after the signal."""
    if sys.platform != "linux":
        return
    deadline_s = time.monotonic() + _STOP_TIMEOUT_S
    while os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG) is None and time.monotonic() < deadline_s:
        time.sleep(_POLL_INTERVAL_S)


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    directory = Path(tempfile.mkdtemp(prefix="kafka-mps-"))
    guard = Guard(directory)
    try:
        _say({"directory": str(directory)})
        for line in sys.stdin:
            _say(guard.answer(json.loads(line)))
    except BrokenPipeError:
        pass  # the starter is gone; so is the answer's reader
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        guard.close()


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
