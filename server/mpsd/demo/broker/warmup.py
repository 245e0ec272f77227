"""Preparations made once for all later starts: the formatted storage and the AOT cache.

The AOT cache (JEP 483, 514 and 515) holds the classes of a broker as they are after a start, loaded and linked. Java
writes it at the end of a training run: here one plain start and an orderly stop. It halves the time of every later start.
"""

import shutil
import sys
from pathlib import Path

from mpsd.demo.broker.distribution import Distribution, Report, locate
from mpsd.demo.broker.errors import BrokerFailed
from mpsd.demo.broker.lock import packaged_lock
from mpsd.demo.broker.node import Node, java_options
from mpsd.demo.broker.ports import free_ports
from mpsd.demo.broker.processes import GuardedProcesses
from mpsd.demo.broker.properties import ClientListener, NodePorts, node_properties
from mpsd.demo.broker.storage import format_checkpoint, random_id

_START_TIMEOUT_S = 120.0
_DUMP_TIMEOUT_S = 180.0
_HEAP_MIB = 512


def to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def prepared(report: Report = to_stderr) -> Distribution:
    """Return the distribution, ready to start brokers from; a user's first call downloads it, later ones take milliseconds.

    Safe to call from many processes at once: one prepares, the others wait for it.

    Raises:
        DemoExtraMissing: the packages of the extra are not installed.
        DownloadFailed: a jar could not be brought in.
    """
    distribution = locate(packaged_lock())
    if not (distribution.is_filled and distribution.is_warm):
        with distribution.exclusively(report):
            if not distribution.is_filled:
                distribution.fill(report)
            if not distribution.is_warm:
                warm_up(distribution, report)
    return distribution


def warm_up(distribution: Distribution, report: Report) -> None:
    """Make the checkpoint, without which no broker starts, and the AOT cache, without which it starts slower."""
    report(f"Kafka {distribution.lock.kafka_version}: preparing for fast starts (once, some seconds)")
    processes = GuardedProcesses()
    try:
        _keep(format_checkpoint(distribution, processes), distribution.checkpoint)
        try:
            _keep(_trained(distribution, processes), distribution.aot_cache)
        except BrokerFailed as error:
            distribution.aot_refusal.write_text(f"{error}\n", encoding="utf-8")
            report(f"Kafka {distribution.lock.kafka_version}: no AOT cache, starts will be slower: {error}")
    finally:
        processes.close()


def _trained(distribution: Distribution, processes: GuardedProcesses) -> Path:
    """Run one broker from start to orderly stop and return the AOT cache that Java wrote at its end."""
    output = processes.directory / "trained.aot"
    options = java_options(processes.directory, heap_mib=_HEAP_MIB, full_compiler=False)
    options.append(f"-XX:AOTCacheOutput={output}")
    node = Node("training", distribution=distribution, processes=processes, options=options)
    client, internal, controller = free_ports(3)
    ports = {1: NodePorts(client=client, internal=internal, controller=controller)}
    properties = node_properties(1, ports=ports, log_dir=node.log_dir, listener=ClientListener(), overrides={})
    node.lay_out(properties, cluster_id=random_id(), checkpoint=distribution.checkpoint)
    node.begin()
    node.wait_until_started(_START_TIMEOUT_S)
    node.stop(kill=False, timeout_s=_DUMP_TIMEOUT_S)  # the process ends only when the cache is written
    if not output.exists():
        raise BrokerFailed(f"Java wrote no AOT cache; {node.log_excerpt()}")
    return output


def _keep(file: Path, target: Path) -> None:
    """Put a file into the cache, whole or not at all."""
    partial = target.with_name(f"{target.name}.partial")  # one name: whoever comes here holds the cache
    try:
        shutil.copyfile(file, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
