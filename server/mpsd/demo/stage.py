"""The stage: broker, application and daemon, each a process of its own, and all gone when the stage is left."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mpsd.demo.asking import get
from mpsd.demo.broker import KafkaCluster, external_servers
from mpsd.demo.broker.ports import free_ports
from mpsd.demo.broker.processes import GuardedProcesses
from mpsd.demo.children import (
    POLL_S,
    Child,
    ChildLate,
    application_argv,
    daemon_argv,
    daemon_config,
    dead_letter_topic,
)
from mpsd.errors import KafkaUnavailable
from mpsd.kafka.topics import Topics

PARTITIONS = 8
_READY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The processes of the demo, and their addresses.

    Attributes:
        application_url: where the application takes orders.
        daemon_url: the daemon's health and metrics.
    """

    topics: Topics
    bootstrap_servers: str
    topic: str
    application: Child
    application_url: str
    daemon: Child
    daemon_url: str
    config: Path
    event_log: Path

    def check(self) -> None:
        """Raise ChildEnded if a process has ended by itself."""
        self.application.check()
        self.daemon.check()

    @property
    def outage_url(self) -> str:
        """A POST here makes the application go away for some seconds."""
        return self.application_url.removesuffix("/orders") + "/outage"


@asynccontextmanager
async def staged(say: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Everything started and ready. Leaving ends it: the daemon is asked, so that it can commit.

    Args:
        say: gets a line for each step.

    Raises:
        MpsError: something did not start; nothing is left behind.
    """
    async with AsyncExitStack() as stack:
        servers = external_servers() or (await stack.enter_async_context(KafkaCluster())).bootstrap_servers
        say(f"Kafka is at {','.join(servers)}")
        processes = GuardedProcesses()
        stack.callback(processes.close)
        topics = await stack.enter_async_context(Topics(servers))
        topic = f"mps-demo-{secrets.token_hex(4)}"
        await topics.create(topic, PARTITIONS)
        if external_servers():
            stack.push_async_callback(_remove_topics, topics, topic)
        event_log = processes.directory / "events.jsonl"
        application = Child(processes, "application", application_argv(event_log))
        application_url = await application.says("http://", _READY_S)
        say(f"an application takes orders at {application_url} (process {application.pid})")
        (http_port,) = free_ports(1)
        config = processes.directory / "mps.toml"
        config.write_text(daemon_config(servers, topic, application_url, http_port))
        daemon = Child(processes, "mpsd", daemon_argv(config))
        stack.push_async_callback(daemon.stop)
        daemon_url = f"http://127.0.0.1:{http_port}"
        await _until_ready(daemon, f"{daemon_url}/readyz")
        say(f"mpsd is ready, with metrics at {daemon_url}/metrics (process {daemon.pid})")
        yield Stage(
            topics=topics,
            bootstrap_servers=",".join(servers),
            topic=topic,
            application=application,
            application_url=application_url,
            daemon=daemon,
            daemon_url=daemon_url,
            config=config,
            event_log=event_log,
        )


async def _until_ready(daemon: Child, url: str) -> None:
    deadline_s = time.monotonic() + _READY_S
    while time.monotonic() < deadline_s:
        if await get(url) is not None:
            return
        daemon.check()
        await asyncio.sleep(POLL_S)
    raise ChildLate(f"mpsd was not ready within {_READY_S:g} s; the end of its log:\n{daemon.log_end()}")


async def _remove_topics(topics: Topics, topic: str) -> None:
    """Leave an external Kafka as it was, as far as it lets us."""
    for each in (topic, dead_letter_topic(topic), f"{topic}.control", f"{topic}.audit"):
        with contextlib.suppress(KafkaUnavailable):
            await topics.delete([each])
