"""An application that is killed in full flow and comes back at the same address."""

import signal
from pathlib import Path

import pytest

from mpsd.demo.broker.ports import free_ports
from mpsd.demo.children import Child, application_argv
from mpsd.demo.guarantees.event_log import read_events
from mpsd.demo.guarantees.events import DeliveryStarted
from tests.faults.figures import Figures
from tests.faults.fleet import PER_S, Fleet, Quiet, lasts
from tests.integration.world import until

pytestmark = pytest.mark.integration

KILLS = 3
READY_S = 30.0
WORK_S = 0.1
AT_ONCE = 20
"""Deliveries in flight: a daemon that had but one would be charged for it, as for a record that kills its worker."""
ANSWER_S = 0.5
"""From the line in the application's log to the answer: killed in between, it is asked once more for what it has done."""
ORDER = b'{"amount": 1, "warehouse": "near"}'


async def test_the_application_is_killed_and_comes_back(fleet: Fleet, figures: Figures) -> None:
    """A process that dies with many deliveries in flight charges none of them: no record needs more than a second attempt."""
    world = fleet.world
    await fleet.create_topic()
    (port,) = free_ports(1)
    log = world.processes.directory / "events.jsonl"

    async def application() -> str:
        argv = [*application_argv(log), "--port", str(port), "--work-s", str(WORK_S)]
        return await Child(world.processes, "application", argv).says("http://", READY_S)

    shares: list[float] = []
    url = await application()
    await fleet.start("a", "b", delivery={"url": url, "concurrency_max": AT_ONCE})
    await fleet.balanced()
    async with world.producing(fleet.topic, keys=1_000, per_s=PER_S // 2, value=ORDER):
        for _ in range(KILLS):
            await grows(log, 1_000)
            world.processes.signal("application", signal.SIGSTOP)
            for name in ("a", "b"):
                await fleet.holds(name, AT_ONCE)
            fleet.cut()
            world.processes.signal("application", signal.SIGKILL)
            world.processes.wait("application", READY_S)
            with Quiet(*fleet) as quiet:
                await lasts(1.0)
            await application()
            shares.append(quiet.cpu_share)
    await world.settled(fleet.topic)
    events = list(read_events(log.read_text().splitlines()))
    world.application.events[:] = events
    attempts = max(event.attempt for event in events if isinstance(event, DeliveryStarted))
    assert not await world.dead_letters(fleet.topic)
    await world.judge(fleet.topic, repeated_s=ANSWER_S)
    figures.note(
        f"application killed {KILLS} times in full flow", lost=0, most_attempts=attempts, cpu_share=max(shares)
    )
    assert attempts <= 2


async def grows(log: Path, lines: int) -> None:
    """Wait for so many more."""
    goal = count(log) + lines
    await until(lambda: count(log) >= goal, "records flow")


def count(log: Path) -> int:
    """Count the log's lines so far."""
    return log.read_bytes().count(b"\n") if log.exists() else 0
