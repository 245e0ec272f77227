"""Operators while everything goes wrong: pauses, limits, resets and replays, each through a daemon that answers.

Changes are the control plane's own, and confirmed by the admin service's own rule; only the calls between daemons are not
real.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.confirmation import Confirmation
from mpsd.admin.daemon import Steerable
from mpsd.admin.fleet import Answers, Fleet, instance_of
from mpsd.core.blocked_keys import BLOCKED
from mpsd.core.control import EntityKey, OfSubscription
from mpsd.core.dead_letter_record import EVERY_DEAD_LETTER, DeadLetterFilter
from mpsd.core.limits import LIMIT, Limit
from mpsd.core.pauses import PAUSE, Pause, Scope
from mpsd.core.replay import REPLAY, ReplayPlan, ReplayState, ReplayTarget, ReplayTask, task_key
from mpsd.core.resets import RESET, Reset, Target
from mpsd.errors import ControlUnavailable
from mpsd.ports import Peer
from tests.simulation.application import Manner
from tests.simulation.daemon import GROUP, NAME, Daemon
from tests.simulation.plan import PRODUCE_S

if TYPE_CHECKING:
    from tests.simulation.story import Story

ACTS_MIN, ACTS_MAX = 4, 8
CONFIRM_TIMEOUT_S = 5.0
PEER_TIMEOUT_S = 1.0
PATIENCE_S = 5.0
ARRIVES_S = 3.0
"""Within this time what a killed daemon had sent is there, or lost."""


class SimulatedFleet:
    """Asks other daemons, as `Fleet` does."""

    def __init__(self, story: "Story") -> None:
        self._story = story

    async def ask(
        self,
        peers: Sequence[Peer],
        _ask: Any,
        _metadata: Sequence[tuple[str, str]] = (),
        left_s: float | None = None,
        _given_s: float | None = None,
    ) -> Answers[pb.Instance]:
        await asyncio.sleep(self._story.broker.latency_s())
        given, silent = [], []
        for peer in peers:
            daemon = self._story.daemons[peer.admin]
            if daemon.process.runs and not daemon.is_gone:
                given.append((peer, instance_of(cast("Steerable", daemon))))
            else:
                silent.append(pb.Instance(address=peer.admin, answered=False, control_revision=-1))
        await asyncio.sleep(min(left_s or PEER_TIMEOUT_S, PEER_TIMEOUT_S) if silent else 0.001)
        return Answers(given, silent)

    def others(self, group: str = "") -> list[Peer]:
        return []


class Operators:
    """The operators of one story, who finally take everything back and let every replay end."""

    def __init__(self, story: "Story", dice: random.Random) -> None:
        self._story = story
        self._dice = dice
        self._loop = story.loop
        self._fleet = cast("Fleet", SimulatedFleet(story))
        self._requests = 0
        self._tasks: list[str] = []
        self.happened: Counter[str] = Counter()

    async def run(self) -> None:
        kinds: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.pause, 5), (self.limit, 1), (self.reset, 2), (self.replay, 10 if self._story.plan.holds else 4),
        ]  # fmt: skip
        chosen = self._dice.choices(
            [kind for kind, _ in kinds], [weight for _, weight in kinds], k=self._dice.randint(ACTS_MIN, ACTS_MAX)
        )
        await asyncio.gather(*(self._at(1.0 + self._dice.random() * PRODUCE_S, act) for act in chosen))

    async def _at(self, at_s: float, act: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(at_s)
        await act()

    def _happens(self, what: str, to: str) -> None:
        self.happened[what] += 1
        self._story.tell(f"operator: {what} {to}")

    # what they do
    async def pause(self) -> None:
        story, dice = self._story, self._dice
        tp, key = dice.choice(list(story.plan.logs)), dice.choice(story.plan.keys)
        scope = dice.choice(
            (
                Scope(NAME),
                Scope(NAME, tp.topic),
                Scope(NAME, tp.topic, tp.partition),
                Scope(NAME, key=key),
                Scope(NAME, tp.topic, key=key),
            )
        )
        until_ms = int((story.wall_s() + 4.0) * 1000) if dice.random() < 0.2 else None
        self._happens("pause", f"{scope} until {until_ms}")
        entity = PAUSE.entity_key(GROUP, scope)
        await self._change(entity, PAUSE.document(Pause(scope=scope, until_ms=until_ms)), confirmed=True)
        await asyncio.sleep(dice.choice((0.2, 1.0, 3.0)))
        self._happens("resume", str(scope))
        await self._change(entity, None, confirmed=True)

    async def limit(self) -> None:
        dice, key = self._dice, LIMIT.entity_key(GROUP, OfSubscription(NAME))
        rate, concurrency = dice.choice((None, 60.0, 300.0)), dice.choice((None, 2, 6))
        self._happens("limit", f"{rate} {concurrency}")
        await self._change(key, LIMIT.document(Limit(rate_max_per_s=rate, concurrency_max=concurrency)))
        await asyncio.sleep(dice.choice((0.5, 2.0)))
        await self._change(key, None)

    async def reset(self) -> None:
        story, dice = self._story, self._dice
        to_begin, targets = dice.random() < 0.25, {}
        for tp, log in story.plan.logs.items():
            stored = story.broker.committed.get(tp)
            if stored is None or (not to_begin and dice.random() < 0.5):
                continue
            wanted = log.start if to_begin else stored.offset + dice.randint(-60, 10)
            targets[tp] = Target(min(max(wanted, log.start), log.end), stored.offset)
        reset_id = f"{dice.getrandbits(32):08x}"
        self._happens("reset", f"{reset_id} {'earliest' if to_begin else 'offsets'}")
        await self._change(
            RESET.entity_key(GROUP, OfSubscription(NAME)), RESET.document(Reset(id=reset_id, targets=targets))
        )

    async def replay(self) -> None:
        story, dice = self._story, self._dice
        for made, temper in story.failed_before():
            if dice.random() < 0.6:
                story.tell(f"{made} is well")
                temper.manner = Manner.ACCEPTS
        topics = sorted({tp.topic for tp in story.plan.logs})
        wanted = dice.choice(
            (
                EVERY_DEAD_LETTER,
                EVERY_DEAD_LETTER,
                DeadLetterFilter(topic=dice.choice(topics)),
                DeadLetterFilter(statuses=frozenset({500})),
            )
        )
        target = ReplayTarget.APPLICATION if dice.random() < 0.8 else ReplayTarget.TOPIC
        rate_max_per_s, again = dice.choice((0.0, 0.0, 30.0)), dice.random() < 0.3
        if story.plan.holds:  # the admin service refuses the topic then
            target = ReplayTarget.APPLICATION
            wanted = dice.choice((wanted, DeadLetterFilter(key=dice.choice(story.plan.keys))))
        task = await self._begin(ReplayPlan(filter=wanted, target=target, rate_max_per_s=rate_max_per_s, again=again))
        if (drawn := dice.random()) < 0.3:
            await asyncio.sleep(dice.choice((0.05, 0.5)))
            await self._turn(task.id, ReplayState.PAUSED)
            await asyncio.sleep(dice.choice((0.3, 2.0)))
            await self._turn(task.id, ReplayState.CANCELLED if drawn < 0.1 else ReplayState.RUNNING)

    async def released(self) -> None:
        """Replay what is blocked as long as something is; again beside one that waits, as for room that another must make."""
        begun_s = 0.0
        while True:
            if self._are_blocked and (self._are_tasks_over or self._loop.time() - begun_s > PATIENCE_S):
                begun_s = self._loop.time()
                for _, temper in self._story.failed_before():
                    temper.manner = Manner.ACCEPTS
                await self._begin(ReplayPlan(include_quarantined=True))
            await asyncio.sleep(0.2)

    async def _begin(self, plan: ReplayPlan) -> ReplayTask:
        story = self._story
        topics = sorted({tp.topic for tp in story.plan.logs})
        bounds = story.dead_letters.bounds()
        task = ReplayTask(
            id=f"r{len(self._tasks)}",
            group=GROUP,
            subscription=NAME,
            plan=plan,
            bounds=[bounds[number] for number in sorted(bounds)],
            sources={topic: sum(tp.topic == topic for tp in story.plan.logs) for topic in topics},
            state=ReplayState.RUNNING,
            reason="",
            started_at_ms=int(story.wall_s() * 1000),
            ended_at_ms=None,
        )
        self._tasks.append(task.id)
        story.witness.lives.replay(task.id)
        story.witness.blocked.replay(task.id, plan.again)
        self._happens("replay", f"{task.id} to the {plan.target} of {sum(each.end for each in task.bounds)}")
        await self._change(task.key, task.document())
        return task

    async def _turn(self, task_id: str, state: ReplayState) -> None:
        task = self._known(task_id)
        if task is not None and not task.state.is_over:
            self._happens(f"replay {state}", task_id)
            await self._change(task.key, replace(task, state=state).document())

    def _known(self, task_id: str) -> ReplayTask | None:
        key = task_key(GROUP, NAME, task_id)
        entity = self._story.witness.state.get(key)
        return REPLAY.parse(key, entity) if entity is not None else None

    # how
    async def _change(self, key: EntityKey, document: Mapping[str, Any] | None, *, confirmed: bool = False) -> None:
        """Through one daemon after the other, with one request id, until one has done it."""
        self._requests += 1
        request_id = f"q{self._requests}"
        while True:
            if (daemon := self._able()) is None:
                await asyncio.sleep(0.2)
                continue
            change = daemon.plane.change(
                key, document, who="ann", reason="on call", request_id=request_id, method="Test", description="a test"
            )
            revision = await self._answer(daemon, change)
            if revision is not None:
                break
            await asyncio.sleep(0.3 if not daemon.is_gone else ARRIVES_S)
        if confirmed and document is not None:
            asking = Confirmation(cast("Steerable", daemon), self._fleet, GROUP, revision, (), CONFIRM_TIMEOUT_S).wait()
            changed = await self._answer(daemon, asking)
            if changed is not None and changed.confirmed:
                self.happened["pause confirmed"] += 1
                self._story.witness.paused(key, revision)

    def _able(self) -> Daemon | None:
        able = [d for d in self._story.living if d.process.runs and not d.is_stopping and d.pipeline is not None]
        return self._dice.choice(able) if able else None

    async def _answer(self, daemon: Daemon, work: Coroutine[Any, Any, Any]) -> Any:
        """Return the daemon's answer; None if it could not answer, or was killed meanwhile."""
        task = daemon.process.spawn(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may ask for it
        while not task.done():
            if daemon.is_gone:
                return None
            await asyncio.sleep(0.02)
        if task.cancelled():  # it stops
            return None
        try:
            return task.result()
        except ControlUnavailable:
            return None

    async def heal(self) -> None:
        """Nothing is stopped any more, every task goes on."""
        for key in list(self._story.witness.state.of_kind(GROUP, PAUSE.name)):
            await self._change(key, None)
        for key in list(self._story.witness.state.of_kind(GROUP, LIMIT.name)):
            await self._change(key, None)
        for task_id in self._tasks:
            task = self._known(task_id)
            if task is not None and task.state is ReplayState.PAUSED:
                await self._turn(task_id, ReplayState.RUNNING)

    @property
    def is_over(self) -> bool:
        return self._are_tasks_over and not self._are_blocked

    @property
    def _are_blocked(self) -> bool:
        return bool(self._story.witness.state.of_kind(GROUP, BLOCKED.name))

    @property
    def _are_tasks_over(self) -> bool:
        tasks = [self._known(task_id) for task_id in self._tasks]
        return all(task is not None and task.state.is_over for task in tasks)

    def conclude(self) -> None:
        """Check the results of the tasks."""
        story = self._story
        for task_id in self._tasks:
            task = self._known(task_id)
            if task is None or not task.state.is_over or task.state is ReplayState.FAILED:
                story.witness.replays.unfinished(task_id, "lost" if task is None else f"{task.state}: {task.reason}")
            elif task.state is ReplayState.DONE:
                story.witness.task_done(task, story.dead_letters.partitions, story.replays_max)
