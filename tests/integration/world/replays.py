"""Replays on a real Kafka: dead letters made, tasks started by an operator's hand, and what the application was given."""

import time
from collections import Counter, defaultdict
from typing import Any

from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.replay import ReplayPlan, ReplayState, ReplayTask
from mpsd.core.replay_book import KINDS, ReplayBook
from mpsd.core.replay_progress import Total
from mpsd.demo.guarantees.events import SeenRecord
from mpsd.kafka.dead_letter_log import KafkaDeadLetterLog
from tests.integration.world.application import Answer, Request
from tests.integration.world.daemon import Daemon
from tests.integration.world.operator import Operator
from tests.integration.world.patience import PATIENCE_S, until
from tests.integration.world.world import World, keyed

QUICK = {"session_timeout_ms": 2_500, "rebalance_timeout_ms": 2_500}
POISON = Answer(422, "no such customer")
SLOWLY_PER_S = 200
"""Dead letters are made faster than that, also on a busy machine."""


async def dead_letters(
    world: World, topic: str, count: int, keys: int, control: str, *, daemons: int = 1, **more: Any
) -> list[SeenRecord]:
    """Make so many, by an application that refuses all; then it takes everything.

    Args:
        daemons: that are started, and go on.
        more: see `World.subscription`.
    """
    world.application.behaviour = lambda _: POISON
    for _ in range(daemons):
        world.begin_daemon(world.subscription(topic, **more), **tables(control))
    for daemon in world.daemons[-daemons:]:
        await daemon.ready()
    produced = await world.produce(topic, [keyed(number, keys) for number in range(count)])
    await world.settled(topic, timeout_s=PATIENCE_S + count / SLOWLY_PER_S)
    assert sum((await world.kafka.topics.log_end(f"{topic}.dlq")).values()) == count
    world.application.behaviour = lambda _: Answer()
    return produced


async def all_are_dead(daemon: Daemon) -> bool:
    """Return True if every delivery refused with `POISON` has led to a dead letter; read once, so by one moment."""
    metrics = await daemon.metrics()
    refused = metrics.sum("mps_deliveries_total", outcome=f"status_{POISON.status}")
    return (metrics.sum("mps_in_flight_records"), metrics.sum("mps_dead_letters_total")) == (0, refused)


def tables(control: str) -> dict[str, Any]:
    return {"kafka": dict(QUICK), "control": {"topic": control, "audit_topic": ""}}


def book(at: Operator) -> ReplayBook:
    """Return the replays as the control topic has them now."""
    made = ReplayBook(at.group, "orders")
    for kind in KINDS:
        for key, entity in at.plane.state.of_kind(at.group, kind.name).items():
            made.on_entity(key, entity)
    return made


def totals(at: Operator, task: ReplayTask) -> Total:
    return book(at).total(task)


async def start(world: World, at: Operator, topic: str, plan: ReplayPlan, task_id: str = "r1") -> ReplayTask:
    log = KafkaDeadLetterLog(f"{topic}.dlq", {"bootstrap_servers": world.kafka.bootstrap_servers, "client_id": "t"})
    bounds = [LogBounds(*each) for _, each in sorted((await log.bounds()).items())]
    await log.close()
    task = ReplayTask(
        id=task_id, group=topic, subscription="orders", plan=plan, bounds=bounds,
        sources={topic: len(await world.kafka.topics.log_end(topic))}, state=ReplayState.RUNNING, reason="",
        started_at_ms=int(time.time() * 1000), ended_at_ms=None,
    )  # fmt: skip
    await at.change(task.key, task.document())
    return task


async def ended(
    at: Operator, task: ReplayTask, state: ReplayState = ReplayState.DONE, timeout_s: float = PATIENCE_S
) -> ReplayTask:
    async def has() -> bool:
        await at.plane.read_to_end()
        return book(at).tasks[task.id].state is state

    await until(has, f"the replay is {state}", timeout_s, every_s=0.1)
    return book(at).tasks[task.id]


class Seen:
    """Records that the application got, replayed or not.

    Attributes:
        answer: to all of it.
    """

    def __init__(self, world: World) -> None:
        self.answer = Answer()
        self.all: list[tuple[str, SeenRecord]] = []
        world.application.behaviour = self._accept

    def _accept(self, request: Request) -> Answer:
        self.all.append((request.headers.get("mps-replay", ""), request.record))
        return self.answer

    def times(self) -> Counter[tuple[TopicPartition, int]]:
        return Counter((TopicPartition(place.topic, place.partition), place.offset) for _, place in self.all)

    def is_ordered(self) -> bool:
        """Return True if the first deliveries of each key were in order."""
        orders: defaultdict[tuple[int, bytes | None], dict[int, None]] = defaultdict(dict)
        for _, place in self.all:
            orders[place.partition, place.key][place.offset] = None
        return all(list(offsets) == sorted(offsets) for offsets in orders.values())
