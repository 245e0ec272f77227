"""One daemon: the real pipeline, policies, group membership and assignor, in a process that can be frozen and killed."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiokafka.errors import KafkaConnectionError
from typing_extensions import override

from mpsd.admin.daemon import ControlStatistics, Members, WatchedFiles
from mpsd.config import RestDelivery
from mpsd.core.breaker import ALL_REJECTED
from mpsd.core.delivery import Assignment, Delivery, ReplayedDelivery
from mpsd.core.outcome import Outcome
from mpsd.core.record import TopicPartition
from mpsd.errors import KafkaUnavailable
from mpsd.kafka.assignor import CooperativeAssignor
from mpsd.kafka.consumer import GroupSettings
from mpsd.kafka.group import KafkaGroup
from mpsd.pipeline.pending_queue import PendingBudget
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replay.sender import Replaying
from mpsd.ports import AssignmentListener, Clock, DeadLetter, DlqPosition, Peer, Position
from mpsd.service.build import group_settings, pipeline_settings
from mpsd.service.control import ControlPlane
from tests.simulation.application import ABORTED, LOST, Application, Before, SimulatedAdapter
from tests.simulation.batching import BatchingAdapter
from tests.simulation.broker import Broker, Connection, Cut
from tests.simulation.client import SimulatedConsumer, connect
from tests.simulation.control_topic import ControlTopic, SimulatedControlLog
from tests.simulation.dead_letters import (
    TOPIC,
    DeadLetterTopic,
    DlqFaults,
    SimulatedDeadLetterLog,
    SimulatedDeadLetters,
    SimulatedRepublisher,
)
from tests.simulation.group import State
from tests.simulation.machine import Process, SimulationLoop
from tests.simulation.plan import Plan

NAME = GROUP = "billing"
GRACE_S = 6.0
PENDING_BYTES_MAX = 1 << 26


@dataclass(frozen=True, slots=True)
class World:
    """Everything that daemons share beside the broker, and their witnesses."""

    control: ControlTopic
    dead_letters: DeadLetterTopic
    republish: Callable[[Sequence[ReplayedDelivery]], None]
    assigned: Callable[[Assignment], None]
    sent: Callable[[Delivery, str, int], None]
    sends: Callable[[object, bool], None]
    settled: Callable[[object, Delivery, Outcome, Before], None]


class WatchedGroup(KafkaGroup):
    """Says so when a partition is assigned, a moment before anybody acts on it."""

    on_assigned: Callable[[Assignment], None]

    @override
    async def start(self, listener: AssignmentListener) -> None:
        await super().start(_Watched(listener, self.on_assigned))


class _Watched:
    """Hands all on."""

    def __init__(self, listener: AssignmentListener, on_assigned: Callable[[Assignment], None]) -> None:
        self._listener = listener
        self._on_assigned = on_assigned
        self.on_leaving, self.on_stays = listener.on_leaving, listener.on_stays
        self.on_share, self.on_peers = listener.on_share, listener.on_peers
        self.on_log_end, self.on_lost = listener.on_log_end, listener.on_lost
        self.on_unreadable = listener.on_unreadable

    def on_assigned(self, assignment: Assignment, position: Position) -> None:
        self._on_assigned(assignment)
        self._listener.on_assigned(assignment, position)


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
        failures: DlqFaults,
        wall_s: Callable[[], float],
        keep: Callable[["Daemon", DeadLetter], DlqPosition],
        dice: random.Random,
        aborts: Callable[[Assignment], None],
        world: "World",
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
        self._failures = failures
        self._wall_s = wall_s
        self._keep = keep
        self._dice = dice
        self._aborts = aborts
        self._world = world
        self.peer = Peer(name, "", "")
        self.started_at_s = wall_s()
        self.control: ControlPlane | None = None

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
        self.adapter.on_sent = self._sent
        self.adapter.on_settling, self.adapter.on_settled = self._settling, self._settled
        plane = self._plane() if self._plan.operated else None
        group = WatchedGroup(group_settings(config, subscription, self.peer), {}, self._connect, loop.time)
        group.on_assigned = self._world.assigned
        self.pipeline = Pipeline(
            pipeline_settings(subscription),
            group,
            self.adapter,
            SimulatedDeadLetters(
                self._broker, self.cut, self._failures, self._dice, partial(self._keep, self), self._plan.holds
            ),
            PendingBudget(PENDING_BYTES_MAX),
            plane or ControlPlane(None, None, {GROUP}, self.name, self._wall_s),
            Clock(monotonic_s=loop.time, wall_s=self._wall_s, jitter=self._dice.random),
            self._replaying(plane) if plane is not None else None,
        )
        if plane is not None:
            await plane.start()
        await self.pipeline.start()

    def _plane(self) -> ControlPlane:
        log = SimulatedControlLog(self._world.control, self._broker, self._connection(), self._dice)
        self.control = ControlPlane(log, None, {GROUP}, self.name, self._wall_s)
        return self.control

    def _connection(self) -> Connection:
        return Connection(self.name, self.process, self.cut)

    def _replaying(self, plane: ControlPlane) -> Replaying:
        subscription, control = self._plan.config.subscriptions[0], self._plan.config.control
        return Replaying(
            topic=TOPIC,
            log=SimulatedDeadLetterLog(self._world.dead_letters, self._broker, self._connection(), self._dice),
            republisher=SimulatedRepublisher(self._broker, self._connection(), self._world.republish),
            replays_max=subscription.dead_letter.replays_max,
            replayed_bytes_max=control.replayed_bytes_max,
            tasks_max=control.replays_max,
            record=plane.record,
        )

    @property
    def is_braked(self) -> bool:
        """Return True if the brake keeps rejections from being dead-lettered."""
        return self.pipeline is not None and self.pipeline.policy.breaker.state is ALL_REJECTED

    def _settling(self, delivery: Delivery) -> Before:
        return Before(delivery.failures.attempts if delivery.failures is not None else 0, self.is_braked)

    def _settled(self, delivery: Delivery, outcome: Outcome, before: Before) -> None:
        assert self.pipeline is not None
        queues = self.pipeline.pending.queues
        if delivery.assignment in queues:  # else the outcome means nothing to it
            self._world.settled(self, delivery, outcome, before)

    def _sent(self, delivery: Delivery) -> None:
        self._world.sends(self, self.is_braked)
        self._world.sent(delivery, self.name, self.control.revision if self.control is not None else -1)

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
        stopping = self.process.spawn(self._stop(self.pipeline)) if self.pipeline is not None else None
        while stopping is not None and not stopping.done() and not self.is_gone:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if not self.is_gone:
            self.is_gone = True
            if stopping is not None:
                stopping.result()

    async def _stop(self, pipeline: Pipeline) -> None:
        await pipeline.stop(GRACE_S)
        if self.control is not None:
            await self.control.close()

    def kill(self) -> None:
        """SIGKILL: sockets close, the rest is silence."""
        self.is_gone = True
        self.process.kill()
        if self.adapter is not None:
            for exchange in list(self.adapter.in_flight):
                self._application.end(exchange, LOST)

    def over(self) -> None:
        """Give up the deliveries of a daemon that the group has dropped while it cannot act."""
        if self.adapter is not None:
            for exchange in list(self.adapter.in_flight):
                self._application.end(exchange, ABORTED)

    @property
    def assignments(self) -> Sequence[Assignment]:
        """Return the assignments that the daemon knows of; none if it is gone."""
        return list(self.pipeline.pending.queues) if self.pipeline is not None and not self.is_gone else []

    @property
    def partitions(self) -> set[TopicPartition]:
        return {assignment.tp for assignment in self.pipeline.pending.queues} if self.pipeline is not None else set()

    # what the admin service asks of a daemon
    @property
    def plane(self) -> ControlPlane:
        assert self.control is not None
        return self.control

    @property
    def pipelines(self) -> Sequence[Pipeline]:
        return [self.pipeline] if self.pipeline is not None else []

    def watched_files(self) -> Sequence[WatchedFiles]:
        return []

    def control_statistics(self) -> ControlStatistics:
        plane = self.plane
        return ControlStatistics(plane.is_on, plane.waiting_for(), plane.revision, plane.state.ignored)

    def not_alive(self) -> Sequence[str]:
        return []

    def not_ready(self) -> Sequence[str]:
        return []

    async def members(self, group: str) -> Members:
        """Return the members as the coordinator knows them now."""
        try:
            found: Members = await self._broker.ask(self._connection(), self._members)
        except KafkaConnectionError as error:
            raise KafkaUnavailable(str(error)) from error
        return found

    def _members(self) -> Members:
        group = self._broker.group
        peers = [Peer(member.owner.name, "", "") for member in group.members.values()]
        return Members(group.state is State.STABLE, peers)

    @property
    def failure(self) -> str:
        """Return the failure of one of the stages; empty if none failed."""
        if self.pipeline is None or self.pipeline.state != "failed":
            return ""
        return f"{self.name}: a stage ended: {self.pipeline.reason}"
