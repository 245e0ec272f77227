"""Faults at random, one after the other, on everything at once. `make soak MINUTES=60` goes on for longer."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import pytest

from mpsd.demo.broker import KafkaCluster
from tests.faults.figures import Figures
from tests.faults.fleet import REBALANCE_S, REPEATED_S, SOAK_MINUTES, Fleet, lasts

pytestmark = pytest.mark.integration

MINUTES = SOAK_MINUTES or 0.4
SEED = int(os.environ.get("SEED") or random.randrange(1 << 32))
DAEMONS = ("a", "b", "c")
NODES = (1, 2, 3)
FAULT_S_MAX = 30.0 if SOAK_MINUTES else 6.0
BEYOND_S = 20.0
"""Time that may pass after a fault until commits go through again."""
PER_S = 200


class Chaos:
    """Draws faults; each ends before the next begins, so that every recovery is seen."""

    def __init__(self, dice: random.Random, fleet: Fleet, cluster: KafkaCluster) -> None:
        self._dice = dice
        self._fleet = fleet
        self._cluster = cluster
        self.count: Counter[str] = Counter()
        self.longest_pause_s = 0.0

    @property
    def faults(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return (self.kill, self.restart, self.freeze, self.kill_broker, self.freeze_brokers, self.application_away)

    async def strike(self) -> None:
        """One fault, and the recovery from it."""
        fault = self._dice.choice(self.faults)
        name = getattr(fault, "__name__", "?")
        print(f"{time.monotonic():.1f} {name}")
        self.count[name] += 1
        self._fleet.cut()
        await fault()
        ended_s = self._fleet.cut()
        await self._fleet.more(50, timeout_s=90.0)
        self.longest_pause_s = max(self.longest_pause_s, self._fleet.pause_s(ended_s))

    async def kill(self) -> None:
        name = self._dice.choice(DAEMONS)
        await self._fleet.kill(name)
        await self._lasts()
        self._fleet.begin(name)

    async def restart(self) -> None:
        name = self._dice.choice(DAEMONS)
        assert await self._fleet[name].stop() in {0, -signal.SIGTERM}  # it may not even have begun to listen to signals
        self._fleet.begin(name)

    async def freeze(self) -> None:
        name = self._dice.choice(DAEMONS)
        self._fleet[name].signal(signal.SIGSTOP)
        await self._lasts()
        self._fleet[name].signal(signal.SIGCONT)

    async def kill_broker(self) -> None:
        node = self._dice.choice(NODES)
        await asyncio.to_thread(self._cluster.stop_node, node, kill=True)
        await self._lasts()
        await asyncio.to_thread(self._cluster.start_node, node)

    async def freeze_brokers(self) -> None:
        nodes = self._dice.sample(NODES, self._dice.choice((1, 3)))
        for node in nodes:
            await asyncio.to_thread(self._cluster.freeze_node, node)
        await self._lasts()
        for node in nodes:
            await asyncio.to_thread(self._cluster.thaw_node, node)

    async def application_away(self) -> None:
        await self._fleet.world.application.go_away()
        await self._lasts()
        await self._fleet.world.application.come_back()

    async def _lasts(self) -> None:
        await lasts(self._dice.uniform(0.0, FAULT_S_MAX))


async def test_faults_at_random(replicated: Fleet, kafka_cluster: KafkaCluster, figures: Figures) -> None:
    print(f"make soak SEED={SEED} MINUTES={MINUTES:g}")
    fleet = replicated
    await fleet.create_topic()
    await fleet.start(*DAEMONS)
    await fleet.balanced()
    chaos = Chaos(random.Random(SEED), fleet, kafka_cluster)
    end_s = time.monotonic() + 60 * MINUTES
    async with fleet.load(per_s=PER_S):
        while time.monotonic() < end_s:
            await chaos.strike()
    cost = await fleet.settle(FAULT_S_MAX + BEYOND_S + REBALANCE_S + REPEATED_S, timeout_s=120.0)
    said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(chaos.count.items()))
    figures.note(f"at random: {said}", **cost, longest_pause_after_s=chaos.longest_pause_s, seed=str(SEED))
