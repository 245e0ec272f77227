"""One seed, one story: records arrive, faults come and go, everything heals, and the guarantees judge what was seen."""

import asyncio
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import Outcome, code_of
from mpsd.core.record import TopicPartition
from mpsd.demo.guarantees import CommitNeverGoesBack, EpochRises, Judge, NullKeysAreFree, Place, every_guarantee
from mpsd.demo.guarantees.events import (
    Committed,
    DaemonKilled,
    DeadLettered,
    DeliveryEnded,
    DeliveryStarted,
    EpochSeen,
    Event,
    LogEnd,
    OutageBegan,
    OutageEnded,
    Produced,
    Removed,
)
from mpsd.ports import DeadLetter
from tests.simulation.application import REFUSED, Application, Exchange, Manner, Temper
from tests.simulation.broker import Broker, Connection, Stored
from tests.simulation.client import tell_time
from tests.simulation.daemon import Daemon
from tests.simulation.dead_letters import Trouble
from tests.simulation.faults import Faults
from tests.simulation.machine import SimulationLoop, Stuck
from tests.simulation.plan import METADATA_UNITS_MAX, WALL_S, draw, place, produced
from tests.simulation.unrest import Unrest

HEALING_S = 60.0
"""How long after the last fault everything may take to settle, in virtual time."""

EXPIRED_MAX = 40
"""Records that retention takes unsettled, at once: a story is about records that are delivered."""
GENERATIONS_MAX = 120
"""More is a group that never comes to rest; usual are 10 to 30."""


@dataclass(slots=True)
class Result:
    """What became of one seed.

    Attributes:
        broken: what went wrong, by the name of the guarantee; `Stages` where a stage of a daemon ended or raised.
        trace: the lines, where they were kept.
    """

    seed: int
    digest: str = ""
    broken: dict[str, str] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    settled: int = 0
    generations: int = 0
    virtual_s: float = 0.0
    trace: list[str] = field(default_factory=list)


class Story:
    """The world of one seed."""

    def __init__(self, seed: int, loop: SimulationLoop, keep_trace: bool = False) -> None:
        self.plan = draw(seed)
        self.loop = loop
        self.result = Result(seed)
        self.wall_offset_s = WALL_S
        self.tempers: dict[Place, Temper] = {}
        interval_s = self.plan.config.subscriptions[0].commit.interval_s
        self.unrest = Unrest(loop.time, interval_s)
        watched = [*every_guarantee(interval_s), EpochRises(), CommitNeverGoesBack()]
        self.judge = Judge([*watched, NullKeysAreFree()] if self.plan.null_keys_free else watched)
        self.broker = Broker(
            loop, random.Random(f"{seed}/broker"), METADATA_UNITS_MAX, self.tell, self._committed, self._dropped
        )
        self.broker.logs = self.plan.logs
        self.broker.group.on_state = self.unrest.group_is
        self.application = Application(
            random.Random(f"{seed}/application"), self.tempers, self._delivery_started, self._delivery_ended
        )
        self.application.on_refused_again = self._refused_again
        self.trouble = Trouble()
        self.daemons: dict[str, Daemon] = {}
        self.faults = Faults(self, random.Random(f"{seed}/faults"))
        self._lives: Counter[int] = Counter()
        self._hash = hashlib.sha256()
        self._keep_trace = keep_trace
        self._seed = seed
        self._settled: set[Place] = set()

    # what is seen
    def tell(self, line: str) -> None:
        line = f"{self.loop.time():.6f} {line}"
        self._hash.update(line.encode())
        if self._keep_trace:
            self.result.trace.append(line)

    def see(self, event: Event, line: str) -> None:
        self.tell(line)
        self.judge.see(event)

    def _delivery_started(self, exchange: Exchange) -> None:
        delivery, at_s = exchange.delivery, self.loop.time()
        assignment, name = delivery.assignment, exchange.adapter.process.name
        self.judge.see(EpochSeen(assignment.tp, assignment.epoch, name, at_s))
        line = f"{name} delivers {delivery} attempt {exchange.attempt} epoch {assignment.epoch}"
        self.see(DeliveryStarted(delivery.record, at_s, exchange.attempt), line)

    def _delivery_ended(self, exchange: Exchange, outcome: Outcome) -> None:
        code = code_of(outcome)
        if code == "delivered":
            self._settled.add(Place.of(exchange.delivery.record))
        line = f"{exchange.adapter.process.name} ends {exchange.delivery} {code}"
        self.see(DeliveryEnded(exchange.delivery.record, self.loop.time(), outcome), line)

    def _refused_again(self, delivery: Delivery) -> None:
        """By the rule of the breaker it may be blamed for this one: judge it as if there were no outage."""
        at_s, record = self.loop.time(), delivery.record
        self.judge.see(OutageEnded(at_s))
        self.judge.see(DeliveryStarted(record, at_s, delivery.attempt))
        self.judge.see(DeliveryEnded(record, at_s, REFUSED))
        self.judge.see(OutageBegan(at_s))

    def _dead_lettered(self, daemon: Daemon, letter: DeadLetter) -> None:
        tp, letter_place = letter.delivery.assignment.tp, Place.of(letter.delivery.record)
        if tp not in daemon.partitions:  # handed on, or lost, while the write was under way
            self.judge.see(DaemonKilled(self.loop.time(), {tp}, self.loop.time()))
            if letter_place in self._settled:
                return
        self._settled.add(letter_place)
        line = f"dead letter {letter.delivery} {letter.disposition}"
        self.see(DeadLettered(letter.delivery.record, self.loop.time(), letter.disposition, letter.reason), line)

    def _committed(self, tp: TopicPartition, next_offset: int) -> None:
        self.see(Committed(tp, next_offset, self.loop.time()), f"committed {tp} {next_offset}")

    def _dropped(self, owner: Connection) -> None:
        """A member was dropped for its silence: what it had not committed is done again by the next owner."""
        daemon = self.daemons[owner.name]
        if not daemon.is_gone and not daemon.process.runs:
            daemon.over()
        self.forgets(daemon)

    def forgets(self, daemon: Daemon) -> None:
        """The daemon ends, or its membership does, with work done that was not committed."""
        if partitions := daemon.partitions:
            since_s = self.unrest.committed_before_s()
            self.see(DaemonKilled(self.loop.time(), partitions, since_s), f"{daemon.name} forgets since {since_s:.6f}")

    def aborts(self, name: str, assignment: Assignment) -> None:
        """A daemon has noticed that its membership is over: what it finished until then may be done again."""
        if not any(member.owner.name == name for member in self.broker.group.members.values()):
            self.judge.see(DaemonKilled(self.loop.time(), {assignment.tp}, self.unrest.committed_before_s()))

    def forgets_at_stop(self, daemon: Daemon) -> None:
        """A clean stop that could not commit."""
        since_s = self.unrest.committed_before_s()
        self.judge.see(DaemonKilled(self.loop.time(), None, since_s))

    # what happens
    def start_daemon(self, slot: int) -> Daemon:
        self._lives[slot] += 1
        name = f"d{slot}.{self._lives[slot]}"
        self.tell(f"{name} starts")
        daemon = self.daemons[name] = Daemon(
            name,
            self.loop,
            self.plan,
            self.broker,
            self.application,
            self.trouble,
            lambda: self.loop.time() + self.wall_offset_s,
            self._dead_lettered,
            random.Random(f"{self._seed}/{name}"),
            partial(self.aborts, name),
        )
        daemon.start()
        return daemon

    @property
    def living(self) -> list[Daemon]:
        return [daemon for daemon in self.daemons.values() if not daemon.is_gone]

    async def _produce(self) -> None:
        dice = random.Random(f"{self._seed}/holes")
        for at_s, tp, key, temper in self.plan.arrivals:
            if at_s > self.loop.time():
                await asyncio.sleep(at_s - self.loop.time())
            log = self.broker.logs[tp]
            if dice.random() < 0.03:
                log.skip(dice.choice((1, 1, 2, 40)))
            made = produced(tp, log.end, key, self.loop.time() + self.wall_offset_s)
            self.tempers[place(made)] = temper
            self.judge.see(Produced(made))
            self.broker.append(made)
        for log in self.broker.logs.values():
            log.skip(dice.choice((0, 0, 1)))

    def expire(self, tp: TopicPartition, offset: int) -> None:
        """Retention takes all before the offset, but only so much that nobody had."""
        waiting = [made.offset for made in self.broker.logs[tp].records if place(made) not in self._settled]
        if len(waiting) > EXPIRED_MAX:
            offset = min(offset, waiting[EXPIRED_MAX])
        for gone in self.broker.logs[tp].delete_before(offset):
            if place(gone) not in self._settled:
                self.judge.see(Removed(gone))
        self.tell(f"{tp} begins at {offset}")

    async def run(self) -> None:
        for tp, (offset, metadata) in self.plan.committed.items():
            self.broker.committed[tp] = Stored(offset, metadata)
        for slot in range(self.plan.daemons):
            self.start_daemon(slot)
        produced = asyncio.create_task(self._produce())
        await self.faults.run()
        await produced
        for temper in self.tempers.values():
            if temper.manner is Manner.BREAKS:
                temper.manner = Manner.ACCEPTS
        self.tell("healed")
        deadline_s = self.loop.time() + HEALING_S
        while not self._is_settled and self.loop.time() < deadline_s and not self._failures():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await asyncio.gather(*(daemon.stop() for daemon in self.living))
        for tp, log in self.broker.logs.items():
            self.judge.see(LogEnd(tp, log.end))

    @property
    def _is_settled(self) -> bool:
        committed = self.broker.committed
        return all(committed.get(tp, Stored(-1, "")).offset == log.end for tp, log in self.broker.logs.items())

    def _failures(self) -> list[str]:
        return [daemon.failure for daemon in self.daemons.values() if daemon.failure]

    def stage_failed(self, _loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not isinstance(error, KafkaError):
            self.result.broken.setdefault("Stages", f"{context['message']}: {error!r}")

    def conclude(self) -> Result:
        result = self.result
        for verdict in self.judge.verdicts():
            if verdict.broken is not None:
                result.broken[type(verdict.guarantee).__name__] = str(verdict.broken)
        if failures := self._failures():
            result.broken["Stages"] = "; ".join(failures)
        if self.broker.group.generation > GENERATIONS_MAX:
            result.broken["RebalancesEnd"] = f"{self.broker.group.generation} generations"
        result.digest = self._hash.hexdigest()
        result.settled = len(self._settled)
        result.generations = self.broker.group.generation
        result.faults = self.faults.happened
        result.virtual_s = self.loop.time()
        return result

    def bury(self) -> None:
        for daemon in self.daemons.values():
            daemon.process.bury()


def tell(seed: int, keep_trace: bool = False, watch: Callable[[Story], None] | None = None) -> Result:
    """Run one seed; whatever goes wrong stands in the result."""
    logging.disable(logging.CRITICAL)
    with asyncio.Runner(loop_factory=SimulationLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SimulationLoop)
        tell_time(loop)
        story = Story(seed, loop, keep_trace)
        loop.set_exception_handler(story.stage_failed)
        if watch is not None:
            watch(story)
        try:
            runner.run(story.run())
        except Stuck as stuck:
            story.result.broken["Stuck"] = str(stuck)
        except Exception as error:  # noqa: BLE001 - whatever the code under test raises is a finding
            story.result.broken["Stages"] = repr(error)
        result = story.conclude()
        loop.set_exception_handler(lambda _loop, _context: None)
        story.bury()
    return result
