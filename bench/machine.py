"""The machine and the versions, which belong to every figure."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

LIBRARIES = ("aiokafka", "uvloop", "httptools")


class Cores(NamedTuple):
    """The cores of daemon and environment; both empty if there is one core, or if processes cannot be bound to cores.

    Attributes:
        daemon: the core of the daemon, or of the program that is measured instead.
        others: the cores of broker, sink and producer.
    """

    daemon: frozenset[int]
    others: frozenset[int]


def shared_out() -> Cores:
    """Return one core for the daemon, and the others for all other processes."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(frozenset(), frozenset())
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return Cores(frozenset(), frozenset())
    return Cores(frozenset(cores[:1]), frozenset(cores[1:]))


@contextmanager
def bound_to(cores: frozenset[int]) -> Iterator[None]:
    """Bind this thread to the cores within the block, and the processes that it starts there for ever."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def described(kafka: str, cores: Cores) -> dict[str, str]:
    """Return the lines of the report that describe the machine and the broker.

    Args:
        kafka: name of the Kafka that is used.
    """
    pinned = "the daemon on one core, all else on the rest" if cores.daemon else "not pinned"
    return {
        "machine": f"{os.cpu_count()} cores, {_cpu_model()}, {platform.system()} {platform.machine()}; {pinned}",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in LIBRARIES), kafka]
        ),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
