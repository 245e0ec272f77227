"""Sees all that happens in a story and tells the guarantees, each record in the life that it is of."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence

from mpsd.core.blocked_keys import BLOCKED
from mpsd.core.control import ControlState, EntityKey, parse_key
from mpsd.core.dead_letter_record import DeadLetterRecord, parse
from mpsd.core.delivery import Assignment, Delivery, ReplayedDelivery
from mpsd.core.offset_map import split_reset
from mpsd.core.outcome import Outcome, code_of
from mpsd.core.pauses import PAUSE
from mpsd.core.record import Record, TopicPartition
from mpsd.core.replay import ReplayTask
from mpsd.core.resets import RESET
from mpsd.demo.guarantees import (
    AttemptsSurvive,
    BoundedRepetition,
    CommitNeverGoesBack,
    EpochRises,
    Guarantee,
    Judge,
    KeyOrder,
    NullKeysAreFree,
    OneInFlightPerKey,
    OutageSpendsNoAttempts,
    RecordPosition,
    every_guarantee,
)
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
    Spared,
)
from mpsd.ports import ControlRecord, DeadLetter, DlqPosition
from tests.simulation.application import REFUSED, Exchange
from tests.simulation.block_promises import KeyOf
from tests.simulation.block_witness import BlockWitness
from tests.simulation.endpoint_promises import EndpointPromises
from tests.simulation.lives import Lives
from tests.simulation.log import PartitionLog, SimulatedRecord
from tests.simulation.plan import Plan
from tests.simulation.promises import (
    ControlReadFirst,
    MatchedDeadLettersReplayed,
    NothingAgainstAPause,
    ResetsApplied,
    WrittenDeadLetter,
)


class Witness:
    """The witness of one story.

    Attributes:
        settled: records that were accepted or dead-lettered, in any of their lives; replays left out.
        skipped: records that a reset passed over.
        state: what the control topic says now.
        trace: the lines, where they are kept.
    """

    def __init__(
        self, plan: Plan, now_s: Callable[[], float], wall_s: Callable[[], float], interval_s: float, keep_trace: bool
    ) -> None:
        self._now_s = now_s
        self._wall_s = wall_s
        self._logs: Mapping[TopicPartition, PartitionLog] = plan.logs
        self.state = ControlState([subscription.group for subscription in plan.config.subscriptions])
        self._hash = hashlib.sha256()
        self._keep_trace = keep_trace
        self.lives = Lives()
        self.trace: list[str] = []
        self.settled: set[RecordPosition] = set()
        self.skipped: set[RecordPosition] = set()
        self.pauses, self.reads = NothingAgainstAPause(), ControlReadFirst()
        self.resets, self.replays = ResetsApplied(), MatchedDeadLettersReplayed()
        lived: list[Guarantee] = [
            each for each in every_guarantee(interval_s) if not isinstance(each, OneInFlightPerKey)
        ]
        self.endpoint = EndpointPromises(plan.config.subscriptions[0], self._spared)
        self.blocked = BlockWitness(plan.config.subscriptions[0].group, plan.config.subscriptions[0].name)
        free: list[Guarantee] = [NullKeysAreFree()] if plan.null_keys_free else []
        self._judge = Judge([*lived, CommitNeverGoesBack(), *free])
        self._present = Judge(
            [
                *(OneInFlightPerKey(), EpochRises(), self.pauses, self.reads, self.resets, self.replays),
                self.endpoint,
                *(self.blocked.guarantees if plan.holds else ()),
            ]
        )  # whatever life a record is in
        self._replayed = Judge(
            [KeyOrder(), BoundedRepetition(interval_s), OutageSpendsNoAttempts(), AttemptsSurvive(interval_s)]
        )
        self._released = Judge([BoundedRepetition(interval_s), OutageSpendsNoAttempts()])

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def broken(self) -> dict[str, str]:
        """Return the failures by the name of the guarantee."""
        return {
            f"{whose}{type(verdict.guarantee).__name__}": str(verdict.broken)
            for whose, judge in (
                *(("", self._judge), ("", self._present)),
                *(("Replayed", self._replayed), ("Released", self._released)),
            )
            for verdict in judge.verdicts()
            if verdict.broken is not None
        }

    def tell(self, line: str) -> None:
        line = f"{self._now_s():.6f} {line}"
        self._hash.update(line.encode())
        if self._keep_trace:
            self.trace.append(line)

    def see(self, event: OutageBegan | OutageEnded, line: str) -> None:
        self.tell(line)
        for judge in (self._judge, self._replayed, self._released):
            judge.see(event)

    def _of(self, delivery: Delivery) -> Judge:
        if delivery.releases:  # in the order of its source, and with attempts of its own for each owner
            return self._released
        return self._replayed if isinstance(delivery, ReplayedDelivery) else self._judge

    # records and deliveries
    def produced(self, made: SimulatedRecord) -> None:
        self._judge.see(Produced(self.lives.now(made)))

    def removed(self, made: SimulatedRecord) -> None:
        """By retention."""
        self.blocked.removed(made)
        seen = self.lives.now(made)
        if RecordPosition.of(seen) not in self.settled:
            self._judge.see(Removed(seen))

    def is_settled(self, made: Record) -> bool:
        return RecordPosition.of(self.lives.now(made)) in self.settled

    def log_ends(self, tp: TopicPartition, end: int) -> None:
        self._judge.see(LogEnd(self.lives.partition_now(tp), end))

    def assigned(self, assignment: Assignment) -> None:
        self.reads.assigned(assignment, self.state.revision)
        self.lives.assigned(assignment)
        if (since_s := self.blocked.assigned(assignment, self.state.revision)) is not None:
            self.forgotten({assignment.tp}, since_s)

    def sent(self, delivery: Delivery, by: str, revision: int) -> None:
        """Note that a daemon hands a delivery to its adapter."""
        now_ms = int(self._wall_s() * 1000)
        self.pauses.time_is(now_ms)
        self.resets.time_is(now_ms)
        self.pauses.on_sent(delivery.record, by, self._now_s())
        self.reads.on_sent(delivery.record, delivery.assignment, by, revision)
        self.blocked.sent(delivery, by, self._now_s())

    def delivery_started(self, exchange: Exchange) -> None:
        delivery, at_s, name = exchange.delivery, self._now_s(), exchange.adapter.process.name
        assignment, seen = delivery.assignment, self.lives.of(delivery)
        self.tell(f"{name} delivers {_place(seen)} attempt {exchange.attempt} epoch {assignment.epoch}")
        self._present.see(EpochSeen(assignment.tp, assignment.epoch, name, at_s))
        self._present.see(DeliveryStarted(delivery.record, at_s, exchange.attempt))
        self._of(delivery).see(DeliveryStarted(seen, at_s, exchange.attempt))
        if not isinstance(delivery, ReplayedDelivery) and (begun := self.lives.begun(assignment)) is not None:
            self.resets.delivered(delivery.record, assignment.epoch, begun)

    def delivery_ended(self, exchange: Exchange, outcome: Outcome) -> None:
        delivery, code, at_s = exchange.delivery, code_of(outcome), self._now_s()
        seen = self.lives.of(delivery)
        if code == "delivered":
            self.blocked.accepted(delivery)
            self._is_over(delivery, seen)
        elif code == "withdrawn" and not exchange.is_aborted:
            self.blocked.unanswered(delivery)
        self.tell(f"{exchange.adapter.process.name} ends {_place(seen)} {code}")
        self._present.see(DeliveryEnded(delivery.record, at_s, outcome))
        self._of(delivery).see(DeliveryEnded(seen, at_s, outcome))

    def _spared(self, delivery: Delivery, attempts: int) -> None:
        """Note a delivery that was not charged, or has attempts back; the endpoint's guarantee judges if that was right."""
        self._of(delivery).see(Spared(self.lives.of(delivery), attempts))

    def _is_over(self, delivery: Delivery, seen: Record) -> None:
        if isinstance(delivery, ReplayedDelivery):
            self.replays.replayed(delivery.assignment.tp, delivery.dead_letter_offset)
        else:
            self.settled.add(RecordPosition.of(seen))

    def refused_again(self, delivery: Delivery) -> None:
        """By the rule of the breaker it may be blamed for this one: judge it as if there were no outage."""
        at_s, seen = self._now_s(), self.lives.of(delivery)
        events: tuple[Event, ...] = (
            OutageEnded(at_s),
            DeliveryStarted(seen, at_s, delivery.attempt),
            DeliveryEnded(seen, at_s, REFUSED),
            OutageBegan(at_s),
        )
        self._of(delivery).see_all(events)

    def dead_lettered(self, dead_letter: DeadLetter, is_ours: bool, dlq_position: DlqPosition) -> None:
        """Note a written dead letter; `is_ours` if the partition was kept while the write was under way."""
        delivery, at_s = dead_letter.delivery, self._now_s()
        seen = self.lives.of(delivery)
        self.endpoint.dead_lettered(delivery, dead_letter.disposition)
        if is_ours:
            self.blocked.died(dead_letter, dlq_position.offset, at_s)
        elif not isinstance(delivery, ReplayedDelivery) and RecordPosition.of(seen) in self.settled:
            self.forgotten({delivery.assignment.tp}, at_s)
            return
        self._is_over(delivery, seen)
        self.tell(f"dead letter {_place(seen)} {dead_letter.disposition}")
        self._of(delivery).see(DeadLettered(seen, at_s, dead_letter.disposition, dead_letter.reason))
        if not is_ours:
            self.forgotten({delivery.assignment.tp}, at_s)

    def republished(self, delivery: ReplayedDelivery) -> None:
        self.replays.replayed(delivery.assignment.tp, delivery.dead_letter_offset)

    # what is forgotten, and why
    def forgotten(self, tps: Collection[TopicPartition] | None, since_s: float, line: str = "") -> None:
        """Note that work finished since then may be done again: see `DaemonKilled`."""
        if line:
            self.tell(line)
        self._judge.see(DaemonKilled(self._now_s(), self.lives.partitions(tps), since_s))
        self.reports_forgotten(tps, since_s)

    def reports_forgotten(self, tps: Collection[TopicPartition] | None, since_s: float) -> None:
        """Note that work of replays since then may be done again."""
        killed = DaemonKilled(self._now_s(), self.lives.replayed(tps), since_s)
        self._replayed.see(killed)
        self._released.see(killed)

    # commits, and the lives that begin with them
    def committed(self, tp: TopicPartition, next_offset: int, metadata: str, generation: int) -> None:
        reset_id = split_reset(metadata)[0]
        if reset_id != self.lives.reset_id(tp):
            self._begin_life(tp, reset_id, generation, next_offset)
        self.tell(f"committed {tp} {next_offset} {reset_id}".rstrip())
        self.blocked.committed(tp, next_offset)
        self._judge.see(Committed(self.lives.partition_now(tp), next_offset, self._now_s()))

    def _begin_life(self, tp: TopicPartition, reset_id: str, generation: int, offset: int) -> None:
        records = self._logs[tp].records
        for made in records:
            if not self.is_settled(made):
                self._judge.see(Removed(self.lives.now(made)))
                if made.offset < offset:
                    self.skipped.add(RecordPosition.of(made))
        self.blocked.recreated(tp)
        self.resets.applied(tp, reset_id, offset)
        self.lives.begin(tp, reset_id, offset, generation)
        for made in records:
            if made.offset >= offset:
                self._judge.see(Produced(self.lives.now(made)))

    # what is decided
    def decided(self, offset: int, record: ControlRecord, owned: Collection[Assignment], by: str) -> None:
        """Note a control record before anybody can read it.

        Args:
            owned: by whoever wrote it.
            by: who that is.
        """
        changed = self.state.apply(offset, record.key, record.value, record.headers, 0)
        key = parse_key(record.key)
        if key is None or changed is None:
            return
        self.tell(f"control {offset} {' '.join(key[1:])}")
        entity = self.state.get(key)
        if key[1] == PAUSE.name:
            self.pauses.decided(key)
        elif key[1] == BLOCKED.name:
            self.tell(f"control {offset} {self.blocked.decided(key, entity, owned, by)}")
        elif key[1] == RESET.name and entity is not None and (reset := RESET.parse(key, entity)) is not None:
            self.resets.written(reset.id, offset, reset.targets, reset.provenance.at_ms)

    def paused(self, key: EntityKey, revision: int) -> None:
        """Note a confirmed pause, which may have been replaced by now."""
        entity = self.state.get(key)
        if entity is not None and entity.revision == revision and (pause := PAUSE.parse(key, entity)) is not None:
            self.tell(f"confirmed {revision} {' '.join(key[1:])}")
            self.pauses.confirmed(key, pause.scope, pause.until_ms)

    def task_done(self, task: ReplayTask, dead_letters: Sequence[Sequence[SimulatedRecord]], replays_max: int) -> None:
        """Judge it by what the dead-letter topic has."""
        matched = []
        for kept, bounds in zip(dead_letters, task.bounds, strict=True):
            for record in kept[bounds.start : bounds.end]:
                dead_letter = parse(record)
                assert isinstance(dead_letter, DeadLetterRecord)
                if dead_letter.key is not None and KeyOf(dead_letter.source, dead_letter.key) in self.blocked.ever:
                    continue  # with it comes all of its key, or nothing
                if task.plan.wants(dead_letter) and not task.plan.quarantines(dead_letter, replays_max):
                    matched.append(WrittenDeadLetter(dead_letter.source, dead_letter.offset))
        self.replays.done(task.id, matched)


def _place(seen: Record) -> str:
    return f"{seen.topic}/{seen.partition}@{seen.offset}"
