"""A real Kafka of one or three nodes on the loopback interface, for as long as the process that starts it wants it."""

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, Self

from typing_extensions import override

from mpsd.demo.broker.distribution import Distribution, Report
from mpsd.demo.broker.errors import BrokerFailed, PortTaken
from mpsd.demo.broker.node import Node, java_options
from mpsd.demo.broker.ports import LOOPBACK, free_ports
from mpsd.demo.broker.processes import GuardedProcesses
from mpsd.demo.broker.properties import ClientListener, NodePorts, node_properties, scram_arguments
from mpsd.demo.broker.storage import format_checkpoint, random_id
from mpsd.demo.broker.warmup import prepared, to_stderr
from mpsd.errors import AddressInUse

_PORT_CHOICES_MAX = 5
_PORTS_PER_NODE = 3
_HEAP_MIB = {1: 512, 3: 384}
_BENCH_HEAP_MIB = 1024


class KafkaCluster:
    """Broker processes with their data, both gone when the cluster is stopped or this process ends, however it ends.

    Use it with `with` or `async with`, or call `start` and `stop`. The first start on a machine downloads Kafka.
    Nodes are numbered as Kafka numbers them, from 1. Methods may be called from any thread; they block.

    Args:
        listener: how clients connect; in plain text if not given.
        properties: broker settings that win over ours.
        full_compiler: for benchmarks; without it the JVM starts quicker and has a lower peak.
        heap_mib: upper bound of each JVM's heap.
        port: where clients find node 1; the others follow. Free ports are chosen if not given.
        start_timeout_s: from the start of the processes until all nodes take requests.
        report: gets a line now and then while the first start prepares.
    """

    def __init__(
        self,
        nodes: Literal[1, 3] = 1,
        *,
        listener: ClientListener | None = None,
        properties: Mapping[str, str] | None = None,
        full_compiler: bool = False,
        heap_mib: int | None = None,
        port: int | None = None,
        start_timeout_s: float = 60.0,
        report: Report = to_stderr,
    ) -> None:
        if nodes not in _HEAP_MIB:
            raise ValueError(f"a cluster has 1 or 3 nodes, not {nodes}")
        self._numbers = range(1, nodes + 1)
        self._listener = listener or ClientListener()
        self._overrides = dict(properties or {})
        self._full_compiler = full_compiler
        self._heap_mib = heap_mib or (_BENCH_HEAP_MIB if full_compiler else _HEAP_MIB[nodes])
        self._port = port
        self._start_timeout_s = start_timeout_s
        self._report = report
        self._is_abandoned = False
        self._processes: GuardedProcesses | None = None
        self._nodes: dict[int, Node] = {}
        self._ports: dict[int, NodePorts] = {}

    @override
    def __repr__(self) -> str:
        state = "stopped" if self._processes is None else ",".join(self.bootstrap_servers)
        return f"<KafkaCluster nodes={len(self._numbers)} {state}>"

    @property
    def bootstrap_servers(self) -> list[str]:
        """`host:port` of every node, of the stopped ones too."""
        return [f"{LOOPBACK}:{ports.client}" for ports in self._ports.values()]

    @property
    def nodes(self) -> Mapping[int, Node]:
        return self._nodes

    def start(self) -> None:
        """Start all nodes; return when every node takes requests.

        Raises:
            DemoExtraMissing: the packages of the extra `demo` are not installed.
            DownloadFailed: Kafka is not in the cache and could not be brought there.
            AddressInUse: the `port` that was asked for is taken.
            BrokerFailed: a node did not start; the message has an excerpt of its log. Nothing is left behind.
        """
        assert self._processes is None, "the cluster has been started"
        if os.name != "posix":
            raise BrokerFailed("the embedded Kafka runs on Linux and macOS; elsewhere set KAFKA_BOOTSTRAP_SERVERS")
        distribution = prepared(self._progress)
        for choice in range(1, _PORT_CHOICES_MAX + 1):
            self._ports = self._choose_ports()
            try:
                self._start_nodes(distribution)
            except PortTaken:
                self.stop()
                if choice == _PORT_CHOICES_MAX:
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                return

    def stop(self) -> None:
        """End all nodes and remove their data; return when both are done. A stopped cluster can be started again."""
        if self._processes is not None:
            self._processes.close()
        self._processes = None
        self._nodes = {}

    def start_node(self, node: int) -> None:
        """Start a stopped node on the data it had, and return when it takes requests."""
        self._nodes[node].begin()
        self._nodes[node].wait_until_started(self._start_timeout_s)

    def stop_node(self, node: int, *, kill: bool = False) -> None:
        """End a node; without `kill` it first hands its partitions over, which takes some seconds."""
        self._nodes[node].stop(kill=kill)

    def freeze_node(self, node: int) -> None:
        """Stop a node's process (SIGSTOP): its connections stay open and silent."""
        self._nodes[node].freeze()

    def thaw_node(self, node: int) -> None:
        self._nodes[node].thaw()

    def check(self) -> None:
        """Raise BrokerFailed, with an excerpt of the node's log, if a node has ended."""
        for node in self._nodes.values():
            if (code := node.exit_code()) is not None:
                raise BrokerFailed(f"{node.name} has ended with {code}\n{node.log_excerpt()}")

    def _start_nodes(self, distribution: Distribution) -> None:
        processes = self._processes = GuardedProcesses()
        self._go_on()
        checkpoint = distribution.checkpoint
        if self._listener.users:
            checkpoint = format_checkpoint(distribution, processes, scram_arguments(self._listener.users))
        options = java_options(processes.directory, heap_mib=self._heap_mib, full_compiler=self._full_compiler)
        cluster_id = random_id()
        for number in self._numbers:
            node = Node(f"node-{number}", distribution=distribution, processes=processes, options=options)
            properties = node_properties(
                number, ports=self._ports, log_dir=node.log_dir, listener=self._listener, overrides=self._overrides
            )
            node.lay_out(properties, cluster_id=cluster_id, checkpoint=checkpoint)
            node.begin()
            self._nodes[number] = node
        for node in self._nodes.values():
            node.wait_until_started(self._start_timeout_s)

    def _progress(self, line: str) -> None:
        self._go_on()
        self._report(line)

    def _go_on(self) -> None:
        if self._is_abandoned:
            raise BrokerFailed("the start was cancelled")

    def _choose_ports(self) -> dict[int, NodePorts]:
        drawn = iter(free_ports(_PORTS_PER_NODE * len(self._numbers)))
        ports = {n: NodePorts(client=next(drawn), internal=next(drawn), controller=next(drawn)) for n in self._numbers}
        if self._port is None:
            return ports
        return {
            number: NodePorts(client=_claim(self._port + number - 1), internal=p.internal, controller=p.controller)
            for number, p in ports.items()
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        """Start the cluster; if cancelled, leave nothing running."""
        try:
            await asyncio.to_thread(self.start)
        except asyncio.CancelledError:
            self._is_abandoned = True
            self.stop()  # the start in the other thread fails at its next step, whichever that is
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def _claim(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as Java does: connections of a past broker don't count
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise AddressInUse(f"{LOOPBACK}:{port} is in use; choose another port, or none for a free one") from error
    return port


BOOTSTRAP_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"


def external_servers(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the `host:port` pairs of `KAFKA_BOOTSTRAP_SERVERS`, which commas separate; none if it is not set."""
    return [server.strip() for server in environment.get(BOOTSTRAP_VARIABLE, "").split(",") if server.strip()]


@contextmanager
def kafka(nodes: Literal[1, 3] = 1, *, full_compiler: bool = False) -> Iterator[list[str]]:
    """Yield the bootstrap servers of the external Kafka if there is one, else of a cluster that lives as long as the block."""
    if servers := external_servers():
        yield servers
        return
    with KafkaCluster(nodes, full_compiler=full_compiler) as cluster:
        yield cluster.bootstrap_servers
