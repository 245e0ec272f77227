"""Applications that receive over streams, each a process of its own, so that one can be killed."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

from mpsd.core.outcome import Delivered
from mpsd.demo.broker.processes import GuardedProcesses
from mpsd.demo.guarantees import read_events
from mpsd.demo.guarantees.events import DeliveryEnded, TimedEvent
from mpsd.demo.guarantees.guarantee import RecordPosition
from tests.integration.world.patience import PATIENCE_S, until

_DELIVERIES = ("delivery_started", "delivery_ended", "application_started")


class StreamWorker:
    """Started at once; see `stream_worker.py`."""

    def __init__(
        self,
        processes: GuardedProcesses,
        name: str,
        address: str,
        subscription: str = "orders",
        *,
        credit: int = 100,
        work_s: float = 0.01,
    ) -> None:
        self.name = name
        self._processes = processes
        self._log = processes.directory / f"{name}.events"
        self.output = processes.directory / f"{name}.log"
        script = Path(__file__).with_name("stream_worker.py")
        argv = [sys.executable, "-P", str(script), address, subscription, str(self._log), str(credit), str(work_s)]
        processes.start(name, argv, log=self.output)

    def _lines(self) -> list[str]:
        """Return the complete lines."""
        return self._log.read_text().rpartition("\n")[0].splitlines() if self._log.exists() else []

    def said(self, event: str) -> list[dict[str, Any]]:
        return [entry for line in self._lines() if (entry := json.loads(line))["event"] == event]

    @property
    def events(self) -> list[TimedEvent]:
        """Return the events to judge."""
        return list(read_events(line for line in self._lines() if json.loads(line)["event"] in _DELIVERIES))

    @property
    def accepted(self) -> list[RecordPosition]:
        return [
            RecordPosition.of(event.record)
            for event in self.events
            if isinstance(event, DeliveryEnded) and isinstance(event.outcome, Delivered)
        ]

    async def accepts(self, count: int) -> None:
        await until(lambda: len(self.said("delivery_ended")) >= count, f"{self.name} accepts {count}")

    async def kill(self) -> None:
        """SIGKILL; what it had begun has ended then."""
        self._processes.signal(self.name, signal.SIGKILL)
        await self.ended()
        last_s = json.loads(self._lines()[-1])["at_s"]
        text = "\n".join([*self._lines(), json.dumps({"event": "application_started", "at_s": last_s}), ""])
        self._log.write_text(text)

    async def stop(self) -> None:
        """SIGTERM."""
        self._processes.signal(self.name, signal.SIGTERM)
        await self.ended()

    async def ended(self) -> None:
        await until(lambda: self._processes.exit_code(self.name) is not None, f"{self.name} has ended", PATIENCE_S)
