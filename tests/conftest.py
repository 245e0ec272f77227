"""Fixtures for tests of any kind. Brokers start with the first test that asks for one, and end with the run or the file."""

import signal
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

import psutil
import pytest
from hypothesis import HealthCheck, settings

from mpsd.demo.broker import KafkaCluster, kafka
from tests.faults.figures import markdown

# A job in the background of a shell begins with Ctrl-C ignored, and so would every process that a test starts and ends by it.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("shared")  # a busy machine is no fault of the code, and a failing seed says how to run it again


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long bytes by their length: what another process makes of the same value, a protobuf map, may differ."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) and len(val) > 40 else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of faults, if there were any."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    lines = list(
        markdown(pair for report in reports if getattr(report, "when", "") == "call" for pair in report.user_properties)
    )
    if lines:
        terminalreporter.section("faults and figures")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[list[str]]:
    """Yield a Kafka for tests that only use it: `KAFKA_BOOTSTRAP_SERVERS`, else one node, shared by the run."""
    with kafka() as servers:
        yield servers


@pytest.fixture(scope="module")
def kafka_cluster() -> Iterator[KafkaCluster]:
    """Start three nodes for tests that stop and freeze them; each test leaves all of them running.

    A cluster without work takes as much of the processor in a minute as a start of it does, so it ends with the file.
    """
    with KafkaCluster(nodes=3) as cluster:
        yield cluster


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """Names for topics and groups that no other test, nor an earlier run on the same Kafka, has used."""
    return lambda purpose: f"{purpose}-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def all_ended() -> Callable[[Iterable[psutil.Process]], bool]:
    """Return a function that waits until none of the processes runs; a zombie counts as ended."""

    def wait(processes: Iterable[psutil.Process], timeout_s: float = 30.0) -> bool:
        deadline_s = time.monotonic() + timeout_s
        left = list(processes)
        while left and time.monotonic() < deadline_s:
            time.sleep(0.01)
            left = [process for process in left if _runs(process)]
        return not left

    return wait


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
