"""The stage of a benchmark: broker, sink and measured processes, each on its cores, which end with the stage."""

import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.machine import Cores, bound_to, shared_out
from bench.sink_client import SinkClient
from bench.workload import Workload, fill
from mpsd.demo.broker import KafkaCluster, external_servers
from mpsd.demo.broker.lock import packaged_lock
from mpsd.demo.broker.processes import GuardedProcesses
from mpsd.demo.children import Child
from mpsd.errors import KafkaUnavailable
from mpsd.kafka.topics import Topics

POLL_S = 0.05
START_S = 30.0
TOOL_S = 300.0
ROOT = Path(__file__).parent.parent


@dataclass(slots=True, kw_only=True)
class Stage:
    """The processes of a benchmark, and their addresses.

    Attributes:
        measured: the processes on the core of the daemon.
        made: the topics that were created.
    """

    cores: Cores
    bootstrap_servers: list[str]
    kafka: str
    topics: Topics
    measured: GuardedProcesses
    sink: SinkClient
    say: Callable[[str], None]
    name: str = field(default_factory=lambda: f"mps-bench-{secrets.token_hex(3)}")
    made: list[str] = field(default_factory=list)
    _filled: dict[Workload, str] = field(default_factory=dict)
    _names: int = 0

    @property
    def dead_letters(self) -> str:
        """Return the name of the dead-letter topic, which all daemons share, so that only the first one creates it."""
        return f"{self.name}-dlq"

    @property
    def control(self) -> str:
        """Return the name of an internal topic; see `dead_letters`."""
        return f"{self.name}-control"

    @property
    def audit(self) -> str:
        """Return the name of an internal topic; see `dead_letters`."""
        return f"{self.name}-audit"

    async def topic_of(self, workload: Workload) -> str:
        """Return a topic with these records; the first call fills it."""
        if workload not in self._filled:
            topic = self._new_topic()
            began_s = time.monotonic()
            await fill(self.topics, topic, workload)
            self._filled[workload] = topic
            self.say(f"{workload.records:,} records are in {topic} after {time.monotonic() - began_s:.1f} s")
        return self._filled[workload]

    async def empty_topic(self, workload: Workload) -> str:
        topic = self._new_topic()
        await self.topics.create(topic, workload.partitions)
        return topic

    def at(self, bootstrap_servers: list[str], topics: Topics) -> "Stage":
        """Return a copy of this stage that uses another broker."""
        return replace(self, bootstrap_servers=bootstrap_servers, topics=topics, made=[], _filled={})

    def new_name(self, what: str) -> str:
        """Return a new name for a topic, a group or a process."""
        self._names += 1
        return f"{self.name}-{what}-{self._names}"

    def _new_topic(self) -> str:
        self.made.append(self.new_name("records"))
        return self.made[-1]

    def start(self, name: str, module: str, *arguments: str) -> Child:
        """Start a Python module on the daemon's cores."""
        return Child(self.measured, name, python(module, *arguments))

    async def run_tool(self, module: str, *arguments: object) -> dict[str, float]:
        """Run a module on the daemon's cores to its end, and return the JSON object that it prints."""
        name = self.new_name("tool")
        child = self.start(name, module, *(str(argument) for argument in arguments))
        return dict(json.loads(await child.says("{", TOOL_S)))

    def write(self, name: str, text: str) -> Path:
        file = self.measured.directory / name
        file.write_text(text)
        return file


def python(module: str, *arguments: str) -> list[str]:
    """Return the command of a module; modules of the bench are found from any working directory."""
    prefix = ["env", f"PYTHONPATH={ROOT}"] if module.startswith("bench.") else []
    return [*prefix, sys.executable, "-m", module, *arguments]


@asynccontextmanager
async def staged(say: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Start broker and sink, and end them with the block. In an external Kafka, also delete the topics.

    Raises:
        MpsError: a process did not start; the others were ended.
    """
    cores = shared_out()
    async with AsyncExitStack() as stack:
        with bound_to(cores.daemon):
            measured = GuardedProcesses()
        stack.callback(measured.close)
        stack.enter_context(bound_to(cores.others))  # this thread, and so the broker's and the sink's processes
        servers, kafka = external_servers(), "Kafka of KAFKA_BOOTSTRAP_SERVERS"
        if not servers:
            servers = (await stack.enter_async_context(KafkaCluster(full_compiler=True))).bootstrap_servers
            kafka = f"Kafka {packaged_lock().kafka_version}"
        others = GuardedProcesses()
        stack.callback(others.close)
        sink = SinkClient(await Child(others, "sink", python("bench.sink")).says("http://", START_S))
        topics = await stack.enter_async_context(Topics(servers))
        say(f"Kafka is at {','.join(servers)}, the sink at {sink.url}")
        stage = Stage(
            cores=cores, bootstrap_servers=servers, kafka=kafka, topics=topics, measured=measured, sink=sink, say=say
        )
        if external_servers():
            stack.push_async_callback(_remove_topics, stage)
        yield stage


async def _remove_topics(stage: Stage) -> None:
    for topic in (*stage.made, stage.dead_letters, stage.control, stage.audit):
        with suppress(KafkaUnavailable):
            await stage.topics.delete([topic])
