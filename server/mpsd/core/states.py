"""The one vocabulary of states: metrics, admin API, `mpsctl` and the reference page all take their words from here.

A new state is one member, at the place of its rank. Nothing else lists states: the metrics, the wire (which carries the
word and its severity), the JSON of `mpsctl` and `docs/reference/states.md` follow.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple, Self


class Severity(StrEnum):
    """The severity of a state."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class DeliveryState(StrEnum):
    """The states of a subscription and of a partition, from the best to the worst.

    Attributes:
        severity: `warning`: it ends by itself, or somebody wanted it so; `error`: it needs somebody.
        reason: what is said of a partition in this state where nothing more is known; empty when all is well.
        meaning: for the reference.
    """

    severity: Severity
    reason: str
    meaning: str

    def __new__(cls, word: str, severity: Severity, reason: str, meaning: str) -> Self:
        """Make a member of one row of the table."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.severity, member.reason, member.meaning = severity, reason, meaning
        return member

    RUNNING = "running", Severity.OK, "", "Records are delivered, or there are none."
    DRAINING = (
        "draining",
        Severity.WARNING,
        "it moves to another daemon",
        "The partition moves to another daemon, or the daemon shuts down: deliveries in flight end, no other starts.",
    )
    STARTING = (
        "starting",
        Severity.WARNING,
        "the control topic is being read",
        "The subscription joins its group, the control topic is being read, or a partition is being handed out.",
    )
    WAITING = (
        "waiting",
        Severity.WARNING,
        "it waits for Kafka",
        "It waits for the broker, a topic or a permission; the reason names it.",
    )
    OPEN_TRANSACTION = (
        "open-transaction",
        Severity.WARNING,
        "it waits for a transaction of a producer: what is behind it cannot be read",
        "What can be read is read; the next records are of, or behind, an open transaction: `mpsctl doctor` names its producer.",
    )
    OFFSET_MAP_FULL = (
        "offset-map-full",
        Severity.WARNING,
        "its offset map is full: nothing more is read until records settle",
        "What was read is delivered; nothing more is read until unfinished records settle: see [the offset map](offset-map.md).",
    )
    NO_RECEIVER = (
        "no-receiver",
        Severity.WARNING,
        "nobody receives",
        "Nobody has taken records by stream or pull for `delivery.receiver_timeout_s`: records wait.",
    )
    PAUSED = "paused", Severity.WARNING, "an operator paused it", "An operator stopped deliveries."
    UNKNOWN = (
        "unknown",
        Severity.ERROR,
        "no daemon says what it does",
        "No daemon that answers has the partition: its daemon is frozen, killed or out of reach.",
    )
    ENDPOINT_OUT = (
        "endpoint-out",
        Severity.ERROR,
        "nothing succeeds at the endpoint: records wait at no cost, and probes go on",
        "Nothing succeeds at the application: deliveries pause, probes go on, and no attempt is charged.",
    )
    ALL_REJECTED = (
        "all-rejected",
        Severity.ERROR,
        "the endpoint rejects everything: dead-lettering has stopped, records wait, and probes go on",
        "Too many records in a row were rejected: dead-lettering goes on after a success or `mpsctl accept-rejections`.",
    )
    BLOCKED_KEYS_FULL = (
        "blocked-keys-full",
        Severity.ERROR,
        "ordering.blocked_keys_max keys are blocked: a key that should be waits; replay or skip some",
        "What was read is delivered, except for a key that should be blocked, because `ordering.blocked_keys_max` are.",
    )
    BLOCKED_KEYS_UNWRITABLE = (
        "blocked-keys-unwritable",
        Severity.ERROR,
        "a key cannot be blocked: the control topic cannot be written",
        "A key should be blocked, and the control topic cannot be written: the partition waits.",
    )
    UNREADABLE = (
        "unreadable",
        Severity.ERROR,
        "the next batch cannot be read: it is damaged, or larger than kafka.batch_bytes_max once it is decompressed",
        "The next batch of the partition is damaged, or larger than `kafka.batch_bytes_max` once it is decompressed.",
    )
    DLQ_BLOCKED = (
        "dlq-blocked",
        Severity.ERROR,
        "the dead-letter topic cannot be written",
        "A record should be dead-lettered, and the dead-letter topic cannot be written: the partition waits.",
    )
    FAILED = (
        "failed",
        Severity.ERROR,
        "it ended",
        "The subscription ended at this daemon, and does not go on without somebody; the reason says why.",
    )

    @property
    def rank(self) -> int:
        """Place among the states; the higher one is worse."""
        return _RANKS[self]


_RANKS = {state: rank for rank, state in enumerate(DeliveryState)}


class LaneState(StrEnum):
    """The states of the first record of a key, as `mpsctl inspect` lists them.

    Attributes:
        severity: as that of `DeliveryState`.
        meaning: for the reference.
    """

    severity: Severity
    meaning: str

    def __new__(cls, word: str, severity: Severity, meaning: str) -> Self:
        """Make a member of one row of the table."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.severity, member.meaning = severity, meaning
        return member

    READY = "ready", Severity.OK, "It waits for a free slot."
    IN_FLIGHT = "in-flight", Severity.OK, "It is at the application."
    BACKING_OFF = "backing-off", Severity.WARNING, "It failed, and waits for its next attempt."
    PAUSED = "paused", Severity.WARNING, "An operator paused its key, its partition or its subscription."
    WAITING = "waiting", Severity.OK, "It waits behind a record of its key that a replay delivers again."
    LOST = (
        "lost",
        Severity.WARNING,
        "Its delivery ended without an answer. Deliveries lost in the same moment are looked at together, when it is over.",
    )
    SUSPECT = "suspect", Severity.WARNING, "It was lost together with others: it is delivered apart from them."
    DEAD_LETTERING = "dead-lettering", Severity.WARNING, "It is on its way into the dead-letter topic."
    BLOCKED = (
        "blocked",
        Severity.WARNING,
        "It is behind a dead letter of its key, and follows it into the dead-letter topic.",
    )
    ENDPOINT_OUT = "endpoint-out", Severity.ERROR, "It waits until a delivery to the application succeeds."
    ALL_REJECTED = (
        "all-rejected",
        Severity.ERROR,
        "It waits until a delivery to the application succeeds, or an operator accepts the rejections.",
    )
    BLOCKED_KEYS_FULL = (
        "blocked-keys-full",
        Severity.ERROR,
        "Its key should be blocked, and `ordering.blocked_keys_max` keys are: replay or skip some.",
    )


class Situation(NamedTuple):
    """A state and why, for people; empty where all is well."""

    state: DeliveryState
    reason: str = ""


ALL_WELL = Situation(DeliveryState.RUNNING)


def worst(situations: Iterable[Situation]) -> Situation:
    """Return the worst of these, the first of several alike; running if there is none."""
    return max(situations, key=lambda each: each.state.rank, default=ALL_WELL)


def summarize(subscription: Iterable[Situation], partitions: Iterable[tuple[str, Situation]]) -> Situation:
    """Return the situation of a subscription: the worst of its own and of its partitions.

    Args:
        subscription: what holds for the whole of it; named before a partition that is as bad.
        partitions: each by its name, such as `orders/0`.
    """
    own = worst(subscription)
    named = [(name, each) for name, each in partitions if each.state.rank > own.state.rank]
    state, reason = worst(each for _, each in named)
    alike = [name for name, each in named if each.state is state]
    if not alike:
        return own
    others = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
    return Situation(state, f"{alike[0]}{others}: {reason}" if reason else "")
