"""A record on its way: one object from the fetch to the verdict, so that the hot path makes no other."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from typing_extensions import override

from mpsd.core.incarnation import UNKNOWN, Incarnation
from mpsd.core.outcome import Outcome
from mpsd.core.record import Record, TopicPartition

Lane = bytes | str | None
"""The name of what orders a record: its key, a constant for a lane that is not a key's, None for a free record."""


class Assignment:
    """One partition while this member owns it. A partition that is gained again has another assignment.

    Attributes:
        epoch: the group's generation in which the member acquired the partition; it only rises, so that applications may
            fence with it.
        incarnation: the topic that the records are of.
        record_prefix: begins the ids of the records; see `idempotency`.
    """

    __slots__ = ("epoch", "incarnation", "record_prefix", "tp")

    def __init__(self, tp: TopicPartition, epoch: int, incarnation: Incarnation = UNKNOWN) -> None:
        self.tp = tp
        self.epoch = epoch
        self.identify(incarnation)

    def identify(self, incarnation: Incarnation) -> None:
        """Set the topic that the records are of; called once, before the first of them is delivered."""
        self.incarnation = incarnation
        self.record_prefix = incarnation.record_prefix(self.tp)

    @override
    def __repr__(self) -> str:
        return f"<Assignment {self.tp} epoch={self.epoch}>"


@dataclass(slots=True)
class FailureHistory:
    """The failures of a record that did not succeed at once; most records never have one.

    Attributes:
        attempts: deliveries so far that count.
        deferrals: deliveries in a row that failed and did not count.
        deferrals_mark: how many deliveries of the endpoint had succeeded when `deferrals` began.
        deferrals_phase: the breaker's phase of that mark; an outage that began or ended since then makes it void.
        first_mark: how many deliveries of the endpoint had succeeded when this record first failed; -1: it did not.
        suspect: a delivery of the record was lost together with others.
        group: how many suspects went out with the record, itself included; 0 if it did not go out as a suspect.
        last: the last outcome but Withdrawn.
        due_s: when its last back-off ends, or ended, on the monotonic clock.
    """

    attempts: int = 0
    deferrals: int = 0
    deferrals_mark: int = 0
    deferrals_phase: int = -1
    first_mark: int = -1
    suspect: bool = False
    group: int = 0
    last: Outcome | None = None
    due_s: float = 0.0
    first_failed_at_ms: int = 0
    last_failed_at_ms: int = 0


class Seat(StrEnum):
    """The place of a delivery, one at a time; `lanes.TRANSITIONS` says which may follow which."""

    WAITING = "waiting"
    """Behind another of its lane, and not handed out."""
    READY = "ready"
    """The head of its lane, in `Lanes.ready`."""
    PAUSED = "paused"
    """The head of its lane and of a paused key, in `Lanes.paused`."""
    IN_FLIGHT = "in flight"
    """At the application, or in the hands of the Writer."""
    LOST = "lost"
    """Ended without an answer, in `LostDeliveries` until the window of its event is over."""
    BACK_OFF = "back-off"
    """Waiting for its next attempt, in the Writer's heap."""
    SUSPECT = "suspect"
    """Lost together with others and waiting to go out in a group, in `Suspects`."""
    DEAD_LETTERING = "dead-lettering"
    """With the DeadLetterWriter."""
    KEYS_FULL = "blocked keys full"
    """With the DeadLetterWriter until there is room to block its key."""
    SETTLED = "settled"
    """Accepted, or durably in the dead-letter topic."""


WAITING, READY, IN_FLIGHT, SETTLED = Seat.WAITING, Seat.READY, Seat.IN_FLIGHT, Seat.SETTLED


class Delivery:
    """A record, its seat in a lane, and its failures.

    Attributes:
        origin: the partition that the record is of, and the epoch; that of the assignment but for a replayed record whose
            partition exists no more.
        size_bytes: what the record counts against the bounds.
        next: the record behind this one in its lane.
        seat: where the delivery is; changed by `lanes.move`, and on the hot path by Lanes itself.
        is_behind: the delivery was handed out behind its head, in one run with it; false where a lane gives one record at a
            time.
        read_at_s: when the record was read, on the monotonic clock.
        started_s: when the last delivery began, on the monotonic clock.
        failures: how the record failed so far; None if it did not.
        replay: id of the replay or reset that brought the record back.
        releases: the record is of a blocked key and is delivered all the same, because its success releases the key.
        dead_letter_record_id: the record's id as its dead letter names it; empty for a record that is read from its topic.
    """

    __slots__ = (
        "assignment",
        "failures",
        "is_behind",
        "lane",
        "next",
        "origin",
        "read_at_s",
        "record",
        "replay",
        "seat",
        "size_bytes",
        "started_s",
    )
    releases: bool = False
    dead_letter_record_id: bytes = b""

    def __init__(
        self, record: Record, assignment: Assignment, lane: Lane, size_bytes: int, read_at_s: float = 0.0
    ) -> None:
        self.record = record
        self.assignment = self.origin = assignment
        self.lane = lane
        self.size_bytes = size_bytes
        self.next: Delivery | None = None
        self.seat = WAITING
        self.is_behind = False
        self.read_at_s = read_at_s
        self.started_s = 0.0
        self.failures: FailureHistory | None = None
        self.replay: str | None = None

    @property
    def attempt(self) -> int:
        """Return the number of the delivery being made, 1 for the first; deliveries that did not count share a number."""
        return 1 if self.failures is None else self.failures.attempts + 1

    @override
    def __str__(self) -> str:
        return f"{self.record.topic}/{self.record.partition}@{self.record.offset}"

    @override
    def __repr__(self) -> str:
        return f"<Delivery {self} {self.seat.value} attempt={self.attempt}>"


def log_fields(delivery: Delivery) -> dict[str, object]:
    """Return what a log line of a delivery says of its record, for programs."""
    record = delivery.record
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The replay of a record.

    Attributes:
        replay: id of the replay.
        replays: how often the record was brought back before.
        dead_letter_offset: of its dead letter, in the dead-letter topic.
        on_finished: called once the record is accepted or durably dead again.
        origin: see `Delivery`; None: the partition that delivers the record.
        releases, dead_letter_record_id: see `Delivery`.
    """

    replay: str
    replays: int
    dead_letter_offset: int
    on_finished: "Callable[[ReplayedDelivery], None]"
    origin: Assignment | None = None
    releases: bool = False
    dead_letter_record_id: bytes = b""


class ReplayedDelivery(Delivery):
    """A record that a replay brought back: in a lane like any other, but of no offset that is to be committed.

    Attributes:
        is_dead_again: the record goes to the dead-letter topic once more.
    """

    __slots__ = ("dead_letter_offset", "dead_letter_record_id", "is_dead_again", "on_finished", "releases", "replays")

    def __init__(
        self, record: Record, assignment: Assignment, lane: Lane, size_bytes: int, read_at_s: float, replayed: Replayed
    ) -> None:
        super().__init__(record, assignment, lane, size_bytes, read_at_s)
        self.origin = replayed.origin or assignment
        self.replay = replayed.replay
        self.replays = replayed.replays
        self.dead_letter_offset = replayed.dead_letter_offset
        self.is_dead_again = False
        self.on_finished = replayed.on_finished
        self.releases = replayed.releases
        self.dead_letter_record_id = replayed.dead_letter_record_id
