"""The examples in other languages, and in ours: built from nothing and run at a real daemon, by each protocol."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mpsd.demo.broker.ports import free_ports
from mpsd.demo.broker.processes import GuardedProcesses
from tests.docs.blocks import ROOT
from tests.integration.test_python_client import billed
from tests.integration.world import Message, World, until

pytestmark = pytest.mark.integration

ORDERS = [b'{"amount": 5}', b'{"amount": 13}', b'{"amount": -1}', b"no order", b'{"amount": 7}']
BUILD_S = 300.0
"""A first build downloads and compiles gRPC."""


@pytest.fixture(scope="module")
def go_services(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the Go programs, built as their page says."""
    if shutil.which("go") is None:
        pytest.skip("there is no Go here: the Go example is neither built nor run")
    directory = tmp_path_factory.mktemp("go") / "go"
    shutil.copytree(ROOT / "examples/go", directory, ignore=shutil.ignore_patterns("gen", "bin"))
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(*argv: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            argv, cwd=directory, env=environ, capture_output=True, text=True, check=False, timeout=BUILD_S
        )

    if (fetched := run("go", "mod", "download")).returncode:
        pytest.skip(f"the modules of the Go example cannot be had here: {fetched.stderr.strip()[-200:]}")
    proto = ROOT / "proto"
    for step in (
        ["buf", "generate", str(proto), "--path", str(proto / "mps/delivery")],
        ["go", "vet", "./..."],
        ["go", "test", "./..."],
        ["go", "build", "-o", "bin/", "./push", "./stream"],
    ):
        done = run(*step)
        assert done.returncode == 0, done.stderr
    return directory / "bin"


@pytest.fixture
def processes() -> Iterator[GuardedProcesses]:
    with closing(GuardedProcesses()) as processes:
        yield processes


async def bills(
    world: World, processes: GuardedProcesses, delivery: dict[str, Any], argv: list[str], log: Path, code: int = 0
) -> int:
    """Return the delivered records, once the service has done its work and ended at SIGTERM."""
    topic = await world.create_topic(2)
    subscription = {**world.subscription(topic), "delivery": delivery}
    daemon = await world.start_daemon(subscription)
    if delivery["protocol"] == "stream":
        argv = [part.replace("ADDRESS", daemon.stream_address) for part in argv]
    processes.start("service", argv, log=log)
    await world.produce(topic, [Message(b"k%d" % (number % 50), ORDERS[number % 5]) for number in range(500)])
    await world.settled(topic)
    dead_letters = await world.dead_letters(topic)
    assert len(dead_letters) == 200
    reasons = [(dict(dead_letter.headers)["mps-dlq-reason"] or b"").decode() for dead_letter in dead_letters]
    assert sum("an amount cannot be below zero" in reason for reason in reasons) == 100
    assert sum("not an order" in reason for reason in reasons) == 100
    metrics = await daemon.metrics()
    processes.signal("service", signal.SIGTERM)
    await until(lambda: processes.exit_code("service") is not None, "the service has ended")
    assert processes.exit_code("service") == code, f"see {log}"
    return int(metrics.sum("mps_deliveries_total", outcome="delivered"))


def lines(path: Path) -> int:
    return len(set(path.read_text().splitlines()))


@pytest.mark.parametrize("records_max", [1, 20])
async def test_python_behind_http(world: World, processes: GuardedProcesses, tmp_path: Path, records_max: int) -> None:
    (port,) = free_ports(1)
    uvicorn = [sys.executable, "-m", "uvicorn", "billing:app", "--port", str(port), "--no-access-log"]
    argv = ["env", f"BILLS={tmp_path}/bills", *uvicorn, "--app-dir", str(ROOT / "examples/python")]
    delivery = {"protocol": "rest", "url": f"http://127.0.0.1:{port}/", "batch": {"records_max": records_max}}
    code = -signal.SIGTERM  # uvicorn ends in order, and then as the signal says
    assert await bills(world, processes, delivery, argv, tmp_path / "log", code) == 300
    assert billed(tmp_path) == 300


async def test_python_at_a_stream(world: World, processes: GuardedProcesses, tmp_path: Path) -> None:
    argv = ["env", f"BILLS={tmp_path}/bills", sys.executable, str(ROOT / "examples/python/billing.py")]
    delivery = {"protocol": "stream"}
    assert await bills(world, processes, delivery, [*argv, "orders", "ADDRESS"], tmp_path / "log") == 300
    assert billed(tmp_path) == 300


async def test_go_behind_http(world: World, go_services: Path, processes: GuardedProcesses, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    argv = [str(go_services / "push"), "-listen", f"127.0.0.1:{port}", "-bills", str(tmp_path / "bills")]
    delivery = {"protocol": "rest", "url": f"http://127.0.0.1:{port}/"}
    assert await bills(world, processes, delivery, argv, tmp_path / "log") == 300
    assert lines(tmp_path / "bills") == 300


async def test_go_at_a_stream(world: World, go_services: Path, processes: GuardedProcesses, tmp_path: Path) -> None:
    argv = [str(go_services / "stream"), "-subscription", "orders", "-address", "ADDRESS", "-bills"]
    delivery = {"protocol": "stream"}
    assert await bills(world, processes, delivery, [*argv, str(tmp_path / "bills")], tmp_path / "log") == 300
    assert lines(tmp_path / "bills") == 300
