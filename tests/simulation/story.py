"""One seed, one story: records arrive, faults come and go, everything heals, and the guarantees judge what was seen."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError

from mpsd.core.dead_letter import REPLAY_HEADER, REPLAYS_HEADER
from mpsd.core.dead_letter_record import DeadLetterRecord, parse
from mpsd.core.delivery import Assignment, ReplayedDelivery
from mpsd.core.record import TopicPartition
from mpsd.demo.guarantees import RecordPosition
from mpsd.demo.guarantees.events import SeenRecord
from mpsd.ports import ControlRecord, DeadLetter, DlqPosition
from tests.simulation.application import Application, Manner, Temper
from tests.simulation.broker import Broker, Connection, Stored
from tests.simulation.client import tell_time
from tests.simulation.control_topic import ControlTopic
from tests.simulation.daemon import Daemon, World
from tests.simulation.dead_letters import DeadLetterTopic, DlqFaults
from tests.simulation.faults import Faults
from tests.simulation.log import SimulatedRecord
from tests.simulation.machine import SimulationLoop, Stuck
from tests.simulation.operators import Operators
from tests.simulation.plan import METADATA_UNITS_MAX, WALL_S, draw, place, produced
from tests.simulation.result import Result
from tests.simulation.unrest import Unrest
from tests.simulation.witness import Witness

HEALING_S = 60.0
"""Time that everything may take to settle after the last fault, in virtual time."""

REPORTED_S = 8.0
"""Within this time of a hindrance, a partition may have been handed on without word of how far its replay was."""
EXPIRED_MAX = 40
"""Records that retention takes unsettled, at once: a story is about records that are delivered."""
GENERATIONS_MAX = 120
"""More is a group that never comes to rest; usual are 10 to 30."""


class Story:
    """The world of one seed."""

    def __init__(self, seed: int, loop: SimulationLoop, keep_trace: bool = False) -> None:
        self.plan = draw(seed)
        self.loop = loop
        self.result = Result(seed)
        self.wall_offset_s = WALL_S
        self.tempers: dict[RecordPosition, Temper] = {}
        subscription = self.plan.config.subscriptions[0]
        interval_s = subscription.commit.interval_s
        self.replays_max = subscription.dead_letter.replays_max
        self.unrest = Unrest(loop.time, interval_s)
        self.witness = Witness(self.plan, loop.time, self.wall_s, interval_s, keep_trace)
        self.tell, self.see = self.witness.tell, self.witness.see
        self.broker = Broker(
            loop, random.Random(f"{seed}/broker"), METADATA_UNITS_MAX, self.tell, self.witness.committed, self._dropped
        )
        self.broker.logs = self.plan.logs
        self.broker.group.on_state = self.unrest.group_is
        self.application = Application(
            random.Random(f"{seed}/application"),
            self.tempers,
            self.witness.delivery_started,
            self.witness.delivery_ended,
        )
        self.application.on_refused_again = self.witness.refused_again
        self.application.stops_at_rejected = self.plan.holds
        self.problem = DlqFaults()
        self.dead_letters = DeadLetterTopic(self.plan.dead_letter_partitions)
        self.control = ControlTopic(self.wall_s, self._decided)
        self.control.on_acknowledged = self.witness.blocked.acknowledged
        self._world = World(
            self.control,
            self.dead_letters,
            self._republish,
            self._assigned,
            self.witness.sent,
            self.witness.endpoint.look,
            self.witness.endpoint.settled,
        )
        self.daemons: dict[str, Daemon] = {}
        self.faults = Faults(self, random.Random(f"{seed}/faults"))
        self.operators = Operators(self, random.Random(f"{seed}/operators")) if self.plan.operated else None
        self._lives: Counter[int] = Counter()
        self._lost: set[Assignment] = set()
        self._seed = seed

    def wall_s(self) -> float:
        return self.loop.time() + self.wall_offset_s

    # what is seen
    def _dead_lettered(self, daemon: Daemon, dead_letter: DeadLetter) -> DlqPosition:
        tp = dead_letter.delivery.assignment.tp  # may be handed on, or lost, while it was written
        is_ours = tp in daemon.partitions and self._is_member(daemon.name)
        is_ours = is_ours and dead_letter.delivery.assignment not in self._lost
        dlq_position = self.dead_letters.append(dead_letter, self.wall_s())
        self.witness.dead_lettered(dead_letter, is_ours, dlq_position)
        return dlq_position

    def _decided(self, offset: int, record: ControlRecord, by: str) -> None:
        """Note a control record before anybody can read it."""
        self.witness.decided(offset, record, self.daemons[by].assignments, by)

    def _assigned(self, assignment: Assignment) -> None:
        self.witness.assigned(assignment)
        if self.unrest.is_hindered(self.loop.time() - REPORTED_S):
            self.witness.reports_forgotten({assignment.tp}, self.unrest.committed_before_s())

    def _republish(self, deliveries: Sequence[ReplayedDelivery]) -> None:
        """Write the records of a replay to their topics."""
        for delivery in deliveries:
            record, tp = delivery.record, delivery.assignment.tp
            guards = ((REPLAY_HEADER, b"r"), (REPLAYS_HEADER, b"%d" % (delivery.replays + 1)))
            log = self.broker.logs[tp]
            made = replace(produced(tp, log.end, record.key, self.wall_s()), headers=(*record.headers, *guards))
            self.witness.republished(delivery)
            self._append(made, Temper(Manner.ACCEPTS, 0.01))

    def _append(self, made: SimulatedRecord, temper: Temper) -> None:
        self.tempers[place(made)] = temper
        self.witness.produced(made)
        self.broker.append(made)

    def failed_before(self) -> list[tuple[RecordPosition, Temper]]:
        """Dead records that the application would not take now, either."""
        dead = {
            RecordPosition(
                dead_letter.source.topic, dead_letter.source.partition, dead_letter.source_offset
            ): dead_letter.key
            for kept in self.dead_letters.partitions
            for record in kept
            if isinstance(dead_letter := parse(record), DeadLetterRecord)
        }
        unwell = {Manner.FAILS, Manner.REJECTS}
        return [
            (each, self.tempers[each])
            for each, key in dead.items()
            if self.tempers[each].manner in unwell
            and (self.witness.is_settled(SeenRecord(*each, key)) or (self.plan.holds and self._is_passed(each)))
        ]  # of a life that is over it may be dead, and on its way in the next

    def _is_passed(self, seen: RecordPosition) -> bool:
        stored = self.broker.committed.get(TopicPartition(seen.topic, seen.partition))
        return stored is not None and seen.offset < stored.offset

    def _dropped(self, owner: Connection) -> None:
        """Note a member dropped for its silence: the next owner does its uncommitted work again."""
        daemon = self.daemons[owner.name]
        self._lost.update(daemon.assignments)
        if not daemon.is_gone and not daemon.process.runs:
            daemon.over()
        self.forgets(daemon)

    def forgets(self, daemon: Daemon) -> None:
        """Note the end of a daemon or of its membership with uncommitted work."""
        if partitions := daemon.partitions:
            since_s = self.unrest.committed_before_s()
            self.witness.forgotten(partitions, since_s, f"{daemon.name} forgets since {since_s:.6f}")

    def aborts(self, name: str, assignment: Assignment) -> None:
        """Note a daemon that noticed the end of its membership: its work until then may be done again."""
        if not self._is_member(name):
            self.witness.forgotten({assignment.tp}, self.unrest.committed_before_s())

    def _is_member(self, name: str) -> bool:
        return any(member.owner.name == name for member in self.broker.group.members.values())

    def forgets_at_stop(self, daemon: Daemon) -> None:
        """Note a clean stop that could not commit."""
        self.witness.forgotten(None, self.unrest.committed_before_s())

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
            self.problem,
            self.wall_s,
            self._dead_lettered,
            random.Random(f"{self._seed}/{name}"),
            partial(self.aborts, name),
            self._world,
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
            self._append(produced(tp, log.end, key, self.wall_s()), temper)
        for log in self.broker.logs.values():
            log.skip(dice.choice((0, 0, 1)))

    def expire(self, tp: TopicPartition, offset: int) -> None:
        """Retention takes all before the offset, but only so much that nobody had."""
        waiting = [made.offset for made in self.broker.logs[tp].records if not self.witness.is_settled(made)]
        if len(waiting) > EXPIRED_MAX:
            offset = min(offset, waiting[EXPIRED_MAX])
        for gone in self.broker.logs[tp].delete_before(offset):
            self.witness.removed(gone)
        self.tell(f"{tp} begins at {offset}")

    async def run(self) -> None:
        for tp, (offset, metadata) in self.plan.committed.items():
            self.broker.committed[tp] = Stored(offset, metadata)
        for slot in range(self.plan.daemons):
            self.start_daemon(slot)
        produced = asyncio.create_task(self._produce())
        operated = asyncio.create_task(self.operators.run()) if self.operators is not None else None
        await self.faults.run()
        await produced
        for temper in self.tempers.values():
            if temper.manner is Manner.BREAKS:
                temper.manner = Manner.ACCEPTS
        letting_go = None
        if self.operators is not None and operated is not None:
            await operated
            await self.operators.heal()
            letting_go = asyncio.create_task(self.operators.released())
        self.tell("healed")
        deadline_s = self.loop.time() + HEALING_S
        bounds = {tp: log.end for tp, log in self.broker.logs.items()}
        while not self._is_settled and self.loop.time() < deadline_s and not self._failures():
            is_behind = any(self.broker.committed.get(tp, Stored(-1, "")).offset < end for tp, end in bounds.items())
            if is_behind or (self.operators is not None and not self.operators.is_over):
                self._trickle()
            await asyncio.sleep(0.1)
        if letting_go is not None:
            letting_go.cancel()
        await asyncio.gather(*(daemon.stop() for daemon in self.living))
        for tp, log in self.broker.logs.items():
            self.witness.log_ends(tp, log.end)
        if self.operators is not None:
            self.operators.conclude()

    def _trickle(self) -> None:
        """Let a good record arrive at each partition: while nothing succeeds, poison cannot be told from an outage."""
        for tp, log in self.broker.logs.items():
            self._append(produced(tp, log.end, b"good %d" % log.end, self.wall_s()), Temper(Manner.ACCEPTS, 0.005))

    @property
    def _is_settled(self) -> bool:
        committed = self.broker.committed
        if self.operators is not None and not self.operators.is_over:
            return False
        return all(committed.get(tp, Stored(-1, "")).offset == log.end for tp, log in self.broker.logs.items())

    def _failures(self) -> list[str]:
        return [daemon.failure for daemon in self.daemons.values() if daemon.failure]

    def stage_failed(self, _loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not isinstance(error, KafkaError):
            self.result.broken.setdefault("Stages", f"{context['message']}: {error!r}")

    def conclude(self) -> Result:
        result = self.result
        result.broken |= self.witness.broken()
        if failures := self._failures():
            result.broken["Stages"] = "; ".join(failures)
        if self.broker.group.generation > GENERATIONS_MAX:
            result.broken["RebalancesEnd"] = f"{self.broker.group.generation} generations"
        result.digest = self.witness.digest
        result.trace = self.witness.trace
        result.settled = len(self.witness.settled | self.witness.skipped)
        result.generations = self.broker.group.generation
        result.faults = self.faults.happened
        result.acts = self.operators.happened if self.operators is not None else Counter()
        result.acts |= Counter(
            {"key blocked": self.witness.blocked.blocked, "key released": self.witness.blocked.released}
        )
        result.virtual_s = self.loop.time()
        return result

    def dead_letter(self) -> None:
        for daemon in self.daemons.values():
            daemon.process.dead_letter()


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
        story.dead_letter()
    return result
