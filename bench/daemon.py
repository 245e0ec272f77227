"""The measured daemon: a separate process with an ordinary configuration."""

import asyncio
import json
import time
from pathlib import Path

import psutil

from bench.cases import Case
from bench.stage import POLL_S, Stage
from mpsd.core.record import TopicPartition
from mpsd.demo.asking import get
from mpsd.demo.broker.ports import free_ports
from mpsd.demo.children import Child, ChildLate

READY_S = 30.0
CONFIG = """\
[kafka]
bootstrap_servers = {servers}

[admin]
listen = "127.0.0.1:{admin_port}"
[http]
listen = "127.0.0.1:{http_port}"
[stream]
listen = "127.0.0.1:{stream_port}"

[control]
topic = "{control}"
audit_topic = "{audit}"

[shutdown]
grace_s = 2.0

[[subscriptions]]
name = "bench"
topics = ["{topic}"]
group = "{group}"

[subscriptions.delivery]
protocol = "{way}"
{delivery}

[subscriptions.dead_letter]
topic = "{dead_letters}"
"""


def configured(
    stage: Stage, topic: str, group: str, case: Case, http_port: int = 0, stream_port: int = 0, admin_port: int = 0
) -> Path:
    """Write the configuration to a file. Other keys have their defaults."""
    rest = f'url = "{stage.sink.url}/"\nconcurrency_max = {case.in_flight}\nbatch = {{ records_max = {case.batch} }}'
    text = CONFIG.format(
        servers=json.dumps(stage.bootstrap_servers),
        http_port=http_port,
        stream_port=stream_port,
        admin_port=admin_port,
        topic=topic,
        group=group,
        way=case.way,
        delivery=rest if case.way == "rest" else "",
        dead_letters=stage.dead_letters,
        control=stage.control,
        audit=stage.audit,
    )
    return stage.write(f"{group}.toml", text)


class Daemon:
    """A process of the daemon, which starts with the object."""

    def __init__(self, stage: Stage, topic: str, case: Case, *, sampled_into: Path | None = None) -> None:
        """Start the process.

        Args:
            sampled_into: file for the samples of `bench.sampler`; None: no sampling.
        """
        self._http_port, stream_port, admin_port = free_ports(3)
        self.admin_address = f"127.0.0.1:{admin_port}"
        port = stream_port if case.way == "stream" else self._http_port
        self.calls: dict[str, object] = {}
        if case.way != "rest":
            self.calls = {
                "way": case.way,
                "address": f"127.0.0.1:{port}",
                "subscription": "bench",
                "callers": case.callers,
                "credit": case.in_flight,
            }
        self.group = stage.new_name("group")
        self._stage = stage
        config = configured(stage, topic, self.group, case, self._http_port, stream_port, admin_port)
        command = ["bench.sampler", str(sampled_into)] if sampled_into else ["mpsd"]
        self.started_s = time.monotonic()
        self._child: Child = stage.start(self.group, *command, "--config", str(config))
        self.pid = self._child.pid

    def check(self) -> None:
        """Raise ChildEnded if the process has ended."""
        self._child.check()

    async def ready(self) -> None:
        """Wait until the daemon has joined its group.

        Raises:
            ChildLate: the daemon took too long.
        """
        deadline_s = time.monotonic() + READY_S
        while await get(f"http://127.0.0.1:{self._http_port}/readyz") is None:
            self.check()
            if time.monotonic() > deadline_s:
                raise ChildLate(f"the daemon was not ready; the end of its log:\n{self._child.log_end()}")
            await asyncio.sleep(POLL_S)

    def peak_mib(self) -> float:
        """Return the largest resident memory so far; on systems that do not store it, the present one."""
        status = Path(f"/proc/{self.pid}/status")
        if status.exists():
            for line in status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        return self.now_mib()

    def now_mib(self) -> float:
        return float(psutil.Process(self.pid).memory_info().rss) / (1 << 20)

    async def stop(self) -> dict[TopicPartition, int]:
        """Stop the daemon, and return the offsets that its group has committed."""
        if await self._child.stop() != 0:
            raise ChildLate(f"the daemon did not end well; the end of its log:\n{self._child.log_end()}")
        return await self._stage.topics.committed(self.group)
