"""Many dead letters replayed at a set rate by three daemons, over a kill -9 and a join. `make replay` does it with 50,000.

In `make test` they are 2,000; nothing else is different.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from mpsd.core.replay import ReplayPlan
from mpsd.demo.guarantees import BoundedRepetition, EveryRecordSettled, Judge, KeyOrder, OneInFlightPerKey
from mpsd.demo.guarantees.events import DaemonKilled, Event, Produced, SeenRecord, TimedEvent
from tests.integration.world import Daemon, World, until
from tests.integration.world.operator import operator
from tests.integration.world.replays import Seen, dead_letters, ended, start, tables, totals
from tests.integration.world.world import COMMIT_INTERVAL_S, name

pytestmark = pytest.mark.integration

RECORDS = int(os.environ.get("RECORDS") or 2_000)
RATE = float(os.environ.get("RATE") or 250.0)
KEYS, PARTITIONS, DAEMONS = 500, 6, 3
BUSY_S = 0.8
"""Time that may pass on a busy machine until progress that is due is in the control topic."""
LOOK_S = 0.5
GROWTH_MIB_MAX = 16.0
"""Growth of a daemon that replays, from a tenth on: what a fetch and 500 records of each partition that it takes over need. It
does not depend on how many are replayed, as nothing is held of a record that is settled."""


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Return a function that prints for `make replay`; in `make test` nobody reads the lines."""

    def print_on(text: str, *, on_terminal: bool = False, end: str = "\n") -> None:
        with capfd.disabled():
            if "RECORDS" in os.environ and (not on_terminal or sys.stdout.isatty()):
                print(text, end=end, flush=True)

    return print_on


class Watch:
    """CPU time and memory of the daemons while a replay runs, with its progress on a terminal."""

    def __init__(self, daemons: Sequence[Daemon], seen: Seen, say: Callable[..., None]) -> None:
        self.daemons = [*daemons]
        self._say = say
        self._seen = seen
        self._began_s = time.monotonic()
        self._cpu_s: dict[str, tuple[float, float]] = {}
        self.rss_mib: dict[str, list[tuple[int, float]]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look until the block is left."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            self._look()
            self._say("", on_terminal=True)

    async def _watch(self) -> None:
        while True:
            self._look()
            took_s = time.monotonic() - self._began_s
            self._say(f"\r{len(self._seen.all):>7,} delivered, {took_s:.0f} s ", on_terminal=True, end="")
            await asyncio.sleep(LOOK_S)

    def _look(self) -> None:
        for daemon in self.daemons:
            if daemon.exit_code() is None:
                first, _ = self._cpu_s.get(daemon.name, (daemon.cpu_s(), 0.0))
                self._cpu_s[daemon.name] = first, daemon.cpu_s()
                self.rss_mib.setdefault(daemon.name, []).append((len(self._seen.all), daemon.rss_mib()))

    @property
    def cpu_s(self) -> float:
        """Return the CPU time of all daemons."""
        return sum(last - first for first, last in self._cpu_s.values())

    def growth_mib(self) -> float:
        """Return the most that a daemon grew after the first tenth, in which buffers and code are loaded."""
        late = [[rss for delivered, rss in looks if delivered > RECORDS / 10] for looks in self.rss_mib.values()]
        return max((max(rss) - rss[0] for rss in late if rss), default=0.0)


async def test_at_a_rate_over_a_kill_and_a_join(world: World, say: Callable[..., None]) -> None:
    say(f"{RECORDS:,} records are made dead letters, and then replayed at {RATE:g} a second", on_terminal=True)
    topic, control = await world.create_topic(PARTITIONS), name("control")
    produced = await dead_letters(world, topic, RECORDS, KEYS, control, daemons=DAEMONS)
    first, before = world.daemons[0], len(world.application.events)
    seen = Seen(world)
    watch = Watch(world.daemons, seen, say)
    async with operator(world.kafka.bootstrap_servers, topic, control) as at, watch.running():
        began_s = time.monotonic()
        task = await start(world, at, topic, ReplayPlan(rate_max_per_s=RATE))
        await until(lambda: len(seen.all) >= RECORDS / 3, "a third is replayed", RECORDS / RATE + 30)
        killed = await kill(first)
        await until(lambda: len(seen.all) >= RECORDS / 2, "half is replayed", RECORDS / RATE + 30)
        watch.daemons.append(await world.start_daemon(world.subscription(topic), **tables(control)))
        total = totals(at, await ended(at, task, timeout_s=2 * RECORDS / RATE + 60))
        took_s = time.monotonic() - began_s
    judge(produced, [*world.application.events[before:], killed])
    repeated = len(seen.all) - len(seen.times())
    say(
        f"{RECORDS:,} dead letters at {RATE:g}/s with a kill and a join: {took_s:.1f} s, {RECORDS / took_s:.0f}/s reached,"
        f" {repeated} twice, {watch.cpu_s / len(seen.all) * 1e6:.0f} µs of CPU each, RSS"
        f" {max(rss for looks in watch.rss_mib.values() for _, rss in looks):.0f} MiB at most, grown by"
        f" {watch.growth_mib():.1f} MiB"
    )
    assert {replay for replay, _ in seen.all} == {task.id}
    assert took_s > RECORDS / RATE / 2, "it kept to the rate"
    assert (total.counts.succeeded, total.counts.failed, total.left) == (RECORDS, 0, 0)
    assert watch.growth_mib() < GROWTH_MIB_MAX
    for daemon in world.daemons[1:]:
        assert await daemon.stop() == 0


async def kill(daemon: Daemon) -> DaemonKilled:
    await daemon.kill()
    return DaemonKilled(time.monotonic())


def judge(produced: Sequence[SeenRecord], events: Sequence[TimedEvent]) -> None:
    """Judge the replay alone: the deaths before it do not count.

    Raises:
        ExceptionGroup: of every broken promise.
    """
    repetition = BoundedRepetition(COMMIT_INTERVAL_S + BUSY_S)
    judge = Judge([EveryRecordSettled(), KeyOrder(), OneInFlightPerKey(), repetition])
    judge.see_all(Produced(record) for record in produced)
    story: list[Event] = [*sorted(events, key=lambda event: event.at_s)]
    judge.see_all(story)
    judge.check()
