"""The broker that demo, tests and benchmarks stand on is a real Kafka, and never outlives who started it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psutil
import pytest
from typing_extensions import override

from mpsd.demo.broker import BrokerFailed, KafkaCluster
from mpsd.demo.broker.properties import NodePorts
from mpsd.errors import AddressInUse

pytestmark = pytest.mark.integration


class AllEnded(Protocol):
    def __call__(self, processes: Iterable[psutil.Process], timeout_s: float = 30.0) -> bool: ...


DEADLINE_S = 60.0

STARTER = """
import sys
from mpsd.demo.broker import KafkaCluster
cluster = KafkaCluster()
cluster.start()
print(cluster.nodes[1].directory.parent, flush=True)
{then}
"""
COMMAND = "from mpsd.demo.broker import run_broker_command; raise SystemExit(run_broker_command())"


@contextmanager
def python(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run code in a process group of its own, as a terminal would."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    assert len(found) == 2, "the guard and its broker"
    return found


def test_a_cluster_can_be_started_again_and_leaves_nothing() -> None:
    cluster = KafkaCluster()
    for _ in range(2):
        with cluster:
            directory = cluster.nodes[1].directory.parent
        assert not directory.exists()


@pytest.mark.parametrize(
    ("then", "end"),
    [
        ("sys.stdin.read()", lambda process: process.kill()),
        ("sys.stdin.read()", lambda process: process.terminate()),
        ("sys.stdin.read()", lambda process: os.killpg(process.pid, signal.SIGINT)),
        ("raise ValueError", lambda process: None),
        ("", lambda process: None),
    ],
    ids=["kill -9", "SIGTERM", "Ctrl-C", "exception", "end of program"],
)
def test_no_broker_outlives_its_starter(
    then: str, end: Callable[[subprocess.Popen[str]], None], all_ended: AllEnded
) -> None:
    announced = "input();" if then != "sys.stdin.read()" else ""  # so that there is time to look
    code = STARTER.format(then=announced + then)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with process:
        directory = Path(line_of(process))
        assert directory.exists()
        left = descendants(process)
        end(process)
        if announced:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        process.wait(DEADLINE_S)
    assert all_ended(left)
    assert not directory.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stays_until_it_is_asked_to_end(number: signal.Signals, all_ended: AllEnded) -> None:
    with python(COMMAND) as process:
        assert "takes requests at 127.0.0.1:" in line_of(process)
        assert [
            line_of(process).startswith(word) for word in ("in mps.toml:", "with the demo:", "with other tools:")
        ] == [True] * 3
        left = descendants(process)
        os.killpg(process.pid, number)
        assert line_of(process) == "stopped; its data is removed"
        assert process.wait(DEADLINE_S) == 0
    assert all_ended(left)


def test_a_second_ctrl_c_does_not_wait(all_ended: AllEnded) -> None:
    with python(COMMAND) as process:
        line_of(process)
        left = descendants(process)
        guard = psutil.Process(process.pid).children()[0]
        guard.suspend()  # the orderly end now takes for ever
        while process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            all_ended([psutil.Process(process.pid)], 0.1)
        guard.resume()
        assert process.returncode == 130
    assert all_ended(left)


async def test_a_cancelled_start_leaves_nothing(all_ended: AllEnded) -> None:
    before = set(psutil.Process().children(recursive=True))
    cluster = KafkaCluster()
    start = asyncio.create_task(cluster.__aenter__())
    while not (begun := set(psutil.Process().children(recursive=True)) - before):  # noqa: ASYNC110 - a process announces itself to nobody
        await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert all_ended(begun)


def test_a_node_that_has_ended_is_named(kafka_cluster: KafkaCluster) -> None:
    kafka_cluster.stop_node(2, kill=True)
    with pytest.raises(BrokerFailed, match="node-2 has ended with -9"):
        kafka_cluster.check()
    kafka_cluster.start_node(2)
    kafka_cluster.check()


def test_a_port_can_be_asked_for_but_not_twice() -> None:
    with KafkaCluster() as first:
        port = int(first.bootstrap_servers[0].rpartition(":")[2])
        with pytest.raises(AddressInUse, match=f"127.0.0.1:{port} is in use"):
            KafkaCluster(port=port).start()
    with KafkaCluster(port=port) as second:
        assert second.bootstrap_servers == [f"127.0.0.1:{port}"]


def test_taken_ports_are_replaced_by_others() -> None:
    with KafkaCluster() as first:

        class Unlucky(KafkaCluster):
            choices = iter([first._ports.copy, first._choose_ports])

            @override
            def _choose_ports(self) -> dict[int, NodePorts]:
                return next(self.choices)()

        with Unlucky() as unlucky:
            assert unlucky.bootstrap_servers != first.bootstrap_servers


def test_a_failed_start_says_why_and_leaves_nothing(all_ended: AllEnded) -> None:
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(BrokerFailed, match=r"ended with 1 while it started(.|\n)*num\.network\.threads"):
        KafkaCluster(properties={"num.network.threads": "none"}).start()
    assert all_ended(set(psutil.Process().children(recursive=True)) - before)
