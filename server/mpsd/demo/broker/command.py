"""`mpsd broker`: a real Kafka on the desk until Ctrl-C."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal, TextIO

from mpsd.demo.broker.cluster import KafkaCluster
from mpsd.demo.broker.lock import packaged_lock

_CHECK_INTERVAL_S = 1.0
_KILLED_EXIT_CODE = 130


class _Asked(BaseException):
    """Somebody wants the broker to end; not an error, so nothing on the way may catch it."""


def run_broker_command(*, nodes: Literal[1, 3] = 1, port: int | None = None, output: TextIO = sys.stdout) -> int:
    """Start a Kafka, print its address, and stay until SIGINT or SIGTERM; a second signal ends the process at once.

    Must be called in the main thread.

    Args:
        port: where clients find node 1; free ports are chosen if not given.

    Returns:
        The exit code, 0.

    Raises:
        MpsError: as `KafkaCluster.start`, or a node ended by itself.
    """
    try:
        with _signals_ask(), KafkaCluster(nodes, port=port) as cluster:
            output.write(_welcome(cluster.bootstrap_servers))
            output.flush()
            while True:
                cluster.check()
                time.sleep(_CHECK_INTERVAL_S)
    except _Asked:
        output.write("stopped; its data is removed\n")
        return 0


def _welcome(servers: list[str]) -> str:
    listed, toml = ",".join(servers), ", ".join(f'"{server}"' for server in servers)
    size = "one node" if len(servers) == 1 else f"{len(servers)} nodes"
    return (
        f"Kafka {packaged_lock().kafka_version} ({size}) takes requests at {listed} until Ctrl-C\n"
        f"  in mps.toml:      [kafka] bootstrap_servers = [{toml}]\n"
        f"  with the demo:    KAFKA_BOOTSTRAP_SERVERS={listed} mpsd demo\n"
        f"  with other tools: kcat -b {listed} -L\n"
    )


@contextmanager
def _signals_ask() -> Iterator[None]:
    previous = {number: signal.signal(number, _ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ask(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_now)
    raise _Asked


def _end_now(_number: int, _frame: FrameType | None) -> None:
    os._exit(_KILLED_EXIT_CODE)  # the guard ends the brokers
