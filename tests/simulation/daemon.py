"""One daemon: the real pipeline, policies, group membership and assignor, in a process that can be frozen and killed."""

import asyncio
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mpsd.config import RestDelivery
from mpsd.core.delivery import Assignment
from mpsd.core.record import TopicPartition
from mpsd.kafka.assignor import CooperativeAssignor
from mpsd.kafka.consumer import GroupSettings
from mpsd.kafka.group import KafkaGroup
from mpsd.pipeline.pending_queue import PendingBudget
from mpsd.pipeline.pipeline import Pipeline
from mpsd.ports import Clock, DeadLetter
from mpsd.service.build import group_settings, pipeline_settings
from tests.simulation.application import ABORTED, LOST, Application, SimulatedAdapter
from tests.simulation.batching import BatchingAdapter
from tests.simulation.broker import Broker, Cut
from tests.simulation.client import SimulatedConsumer, connect
from tests.simulation.dead_letters import SimulatedDeadLetters, Trouble
from tests.simulation.machine import Process, SimulationLoop
from tests.simulation.plan import Plan

GRACE_S = 6.0
PENDING_BYTES_MAX = 1 << 26


class Daemon:
    """From its start to its stop or its end.

    Attributes:
        is_gone: stopped or killed.
    """

    def __init__(
        self,
        name: str,
        loop: SimulationLoop,
        plan: Plan,
        broker: Broker,
        application: Application,
        trouble: Trouble,
        wall_s: Callable[[], float],
        keep: Callable[["Daemon", DeadLetter], None],
        dice: random.Random,
        aborts: Callable[[Assignment], None],
    ) -> None:
        self.name = name
        self.process = Process(name, loop)
        self.cut = Cut()
        self.is_gone = False
        self.is_stopping = False
        self.adapter: SimulatedAdapter | None = None
        self.pipeline: Pipeline | None = None
        self._loop = loop
        self._plan = plan
        self._broker = broker
        self._application = application
        self._trouble = trouble
        self._wall_s = wall_s
        self._keep = keep
        self._dice = dice
        self._aborts = aborts

    def start(self) -> None:
        self.process.spawn(self._start())

    async def _start(self) -> None:
        config, loop = self._plan.config, self._loop
        subscription = config.subscriptions[0]
        delivery = subscription.delivery
        assert isinstance(delivery, RestDelivery)
        told = (self.process, self._application, delivery.concurrency_max, delivery.timeout_s)
        records_max = delivery.batch.records_max
        self.adapter = SimulatedAdapter(*told) if records_max == 1 else BatchingAdapter(*told, records_max)
        self.adapter.on_abort = self._aborts
        self.pipeline = Pipeline(
            pipeline_settings(subscription),
            KafkaGroup(group_settings(config, subscription), {}, self._connect, loop.time),
            self.adapter,
            SimulatedDeadLetters(self._broker, self.cut, self._trouble, self._dice, partial(self._keep, self)),
            PendingBudget(PENDING_BYTES_MAX),
            Clock(monotonic_s=loop.time, wall_s=self._wall_s),
            self._dice.random,
        )
        await self.pipeline.start()

    async def _connect(
        self,
        settings: GroupSettings,
        options: Mapping[str, Any],
        assignor: CooperativeAssignor,
        waits: Callable[[str], None],
    ) -> SimulatedConsumer:
        return await connect(settings, assignor, self.process, self._broker, self.cut)

    async def stop(self) -> None:
        """SIGTERM; returns when it has stopped, or was killed meanwhile."""
        self.is_stopping = True
        stopping = self.process.spawn(self.pipeline.stop(GRACE_S)) if self.pipeline is not None else None
        while stopping is not None and not stopping.done() and not self.is_gone:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if not self.is_gone:
            self.is_gone = True
            if stopping is not None:
                stopping.result()

    def kill(self) -> None:
        """SIGKILL: sockets close, the rest is silence."""
        self.is_gone = True
        self.process.kill()
        if self.adapter is not None:
            for exchange in list(self.adapter.in_flight):
                self._application.end(exchange, LOST)

    def over(self) -> None:
        """The group has dropped it while it cannot act: nobody waits for its deliveries any more."""
        if self.adapter is not None:
            for exchange in list(self.adapter.in_flight):
                self._application.end(exchange, ABORTED)

    @property
    def partitions(self) -> set[TopicPartition]:
        return {assignment.tp for assignment in self.pipeline.pending.queues} if self.pipeline is not None else set()

    @property
    def failure(self) -> str:
        """What ended one of its stages; empty if none did."""
        if self.pipeline is None or self.pipeline.state != "failed":
            return ""
        return f"{self.name}: a stage ended: {self.pipeline.reason}"
