"""Processes under guard, played by small ones: no Java here."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator

import psutil
import pytest

from mpsd.demo.broker.errors import BrokerFailed
from mpsd.demo.broker.processes import GuardedProcesses

DEADLINE_S = 20.0
AllEnded = Callable[[Iterable[psutil.Process]], bool]
SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]


@pytest.fixture
def processes() -> Iterator[GuardedProcesses]:
    guarded = GuardedProcesses()
    yield guarded
    guarded.close()


def begin(processes: GuardedProcesses, argv: list[str] = SLEEPER) -> psutil.Process:
    return psutil.Process(processes.start("p", argv, log=processes.directory / "log"))


def test_an_exit_code_is_reported(processes: GuardedProcesses) -> None:
    begin(processes, [sys.executable, "-c", "print('said'); raise SystemExit(3)"])
    assert processes.wait("p", DEADLINE_S) == 3
    assert (processes.directory / "log").read_text() == "said\n"


def test_a_signal_ends_it(processes: GuardedProcesses) -> None:
    begin(processes)
    processes.signal("p", signal.SIGKILL)
    assert processes.wait("p", DEADLINE_S) == -signal.SIGKILL
    processes.signal("p", signal.SIGKILL)


def test_waiting_has_an_end(processes: GuardedProcesses) -> None:
    begin(processes)
    assert processes.wait("p", 0.0) is None


def test_closing_ends_processes_and_their_children_and_removes_the_directory(
    processes: GuardedProcesses, all_ended: AllEnded
) -> None:
    parent = "import subprocess, sys, signal; subprocess.Popen(sys.argv[1:]); print(flush=True); signal.pause()"
    process = begin(processes, [sys.executable, "-c", parent, *SLEEPER])
    while not (children := process.children()):
        assert process.is_running()
    processes.close()
    assert all_ended([process, *children])
    assert not processes.directory.exists()


def test_closing_ends_a_frozen_process(processes: GuardedProcesses) -> None:
    process = begin(processes)
    processes.signal("p", signal.SIGSTOP)
    processes.close()
    assert not process.is_running()


def test_after_closing_nothing_starts(processes: GuardedProcesses) -> None:
    processes.close()
    processes.close()
    with pytest.raises(BrokerFailed, match="stopped"):
        begin(processes)


def test_what_cannot_be_started_is_named(processes: GuardedProcesses) -> None:
    with pytest.raises(BrokerFailed, match="/no/such/program"):
        begin(processes, ["/no/such/program"])


@pytest.mark.skipif(sys.platform != "linux", reason="the second net is Linux's")
def test_a_killed_guard_takes_its_processes_along(processes: GuardedProcesses, all_ended: AllEnded) -> None:
    process = begin(processes)
    guard = process.parent()
    assert guard is not None
    guard.kill()
    assert all_ended([process])
    with pytest.raises(BrokerFailed, match=r"stopped|gone"):
        processes.exit_code("p")
    processes.close()
    assert not processes.directory.exists()
