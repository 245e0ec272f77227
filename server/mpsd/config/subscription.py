"""A subscription: one consumer group, its topics, and one application endpoint. The source of its reference page."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema, model_validator

from mpsd.config.delivery import Delivery
from mpsd.config.shapes import Allowed
from mpsd.config.values import ENV_SCHEMA, TEXT_SCHEMA, TOPIC, DeadLetterTopic, Group, Start, Table, Topic

DELIVERY_BOUND = {"rest": "timeout_s", "stream": "lease_s", "pull": "lease_s"}
"""The key that says how long a delivery may take, by protocol."""
DELIVERY_BOUND_MAX_S = 3_600.0
DRAIN_SPARE_S = 5.0
"""Time that a partition that moves waits beyond a delivery, unless somebody says how long."""


class Ordering(Table):
    """The order of deliveries."""

    by: Literal["key", "partition", "none"] = Field(
        default="key",
        description="Scope of order: records of one key, of one partition, or none; one record of it is in flight"
        " at a time. key, because producers choose keys for order.",
    )
    null_key: Literal["none", "partition"] = Field(
        default="none",
        description="Order of records without a key: none, or all of a partition one by one; none, because a"
        " producer that wants order sets a key.",
    )
    after_dead_letter: Literal["continue", "block"] = Field(
        default="continue",
        description="Treatment of a key after one of its records was dead-lettered: `continue` delivers its later"
        " records, `block` sends them to the dead-letter topic until an operator replays or skips them; continue,"
        " so that no operator has to be on call.",
    )
    blocked_keys_max: int = Field(
        default=10_000,
        ge=1,
        le=100_000,
        description="Keys of the subscription that are blocked at a time under `block`, beyond which a partition"
        " waits; 10,000 blocked keys are a general failure and not one of single keys.",
    )


class Pending(Table):
    """Bounds of the records read and not yet settled, of each partition."""

    records_max: int = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="Pending records of a partition; 10,000, so that one slow key does not stop the others behind it.",
    )
    bytes_max: int = Field(
        default=33_554_432,
        ge=1_024,
        le=1_099_511_627_776,
        description="Bytes of the pending records of a partition, overhead included; 32 MiB, so that one partition"
        " never takes more than half of limits.pending_bytes_max.",
    )


class Retry(Table):
    """The attempts to deliver a record, and the pauses between them."""

    attempts_max: int = Field(
        default=13,
        ge=1,
        le=1_000,
        description="Deliveries of a record before it is dead-lettered; 13 take one to two minutes with the pauses"
        " between them, which is longer than most short outages. An outage of the endpoint costs no attempt.",
    )
    crowding_attempts_max: int = Field(
        default=5,
        ge=1,
        le=1_000,
        description="Deliveries of a record before it is dead-lettered while the records behind it in its key fill"
        " more than a quarter of its partition's bound; five end within about a second, so that one failing key"
        " never stops the others.",
    )
    backoff_initial_s: float = Field(
        default=0.1,
        ge=0.001,
        le=3_600.0,
        description="Longest first pause in seconds, doubled with each attempt; a pause is random between half of"
        " it and all of it. 0.1 s, because most failures end at once.",
    )
    backoff_max_s: float = Field(
        default=24.0,
        ge=0.001,
        le=86_400.0,
        description="Longest pause in seconds; 24 s, so that a record whose endpoint works again is delivered"
        " within half a minute.",
    )
    failing_key_after: int = Field(
        default=3,
        ge=0,
        le=1_000,
        description="Records of one key that must exhaust their attempts in a row until later ones get a single"
        " attempt, 0: never; three, because two in a row may be chance.",
    )
    failing_keys_max: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Failing keys that the daemon remembers; 10,000 need a few MiB.",
    )
    record_age_max_s: float = Field(
        default=0.0,
        ge=0.0,
        le=315_360_000.0,
        description="Age in seconds at which a record is dead-lettered as expired; 0: never, because only the"
        " application knows when a record is too old.",
    )
    lost_window_s: float = Field(
        default=1.0,
        ge=0.0,
        le=60.0,
        description="Time in seconds within which lost deliveries count as one event, for which no record is"
        " charged; 1 s, because all connections to a crashed process break within that time.",
    )


class Breaker(Table):
    """The rules that distinguish an outage of the endpoint from a record that the endpoint cannot process."""

    lanes_min: int = Field(
        default=3,
        ge=1,
        le=1_000,
        description="Keys (lanes) that must fail, with no success between, until deliveries pause; three, because"
        " three keys rarely fail at the same time by themselves.",
    )
    failures_min: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Failures in a row, with no success between, that pause deliveries at once; with fewer they"
        " pause after probe_interval_s. 20, because random failures of half of the requests are not an outage.",
    )
    rejections_max: int = Field(
        default=100,
        ge=0,
        le=1_000_000,
        description="Rejected records (400, 422 and the like) in a row, with no success between, that are"
        " dead-lettered until the subscription stops and waits for a success or an operator, 0: never; 100, because"
        " a bad deployment rejects everything and 100 records are replayed in a second.",
    )
    successes_between: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Deliveries of other records that succeed while a record fails, after which the record itself"
        " is to blame; 20 are not chance.",
    )
    probe_interval_s: float = Field(
        default=1.0,
        ge=0.01,
        le=3_600.0,
        description="Longest pause in seconds between probes while deliveries pause; the first pause is an eighth"
        " of it. 1 s, because one probe a second is a small load and finds the endpoint soon.",
    )


class DeadLetter(Table):
    """The topic for records that the application cannot process."""

    topic: DeadLetterTopic = Field(
        default="",
        description="Dead-letter topic of this subscription alone, never a source, created if it does not exist;"
        " empty: `<first topic>.<name>.dlq`, because the name then says to whom it belongs.",
        examples=["orders.billing.dlq"],
    )
    retention_s: int = Field(
        default=1_209_600,
        ge=0,
        le=315_360_000,
        description="Time in seconds for which a created topic keeps dead letters, 0: for ever; two weeks, so that"
        " none is lost in a holiday.",
    )
    replication_factor: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Replicas of a created topic; 0: three, or as many as there are brokers.",
    )
    replays_max: int = Field(
        default=3,
        ge=1,
        le=100,
        description="Replays after which a record that fails again is quarantined, so that only an explicit request"
        " replays it; three, because after three failures nothing has changed.",
    )
    write_timeout_s: float = Field(
        default=10.0,
        ge=0.1,
        le=600.0,
        description="Time in seconds within which all in-sync replicas must have a dead letter, else it is written"
        " again; 10 s are longer than a change of leader.",
    )
    backoff_initial_s: float = Field(
        default=0.5,
        ge=0.001,
        le=3_600.0,
        description="Pause in seconds before the first repeated write, then doubled; 0.5 s, about the time of a"
        " change of leader.",
    )
    backoff_max_s: float = Field(
        default=30.0,
        ge=0.001,
        le=86_400.0,
        description="Longest pause in seconds between writes while the topic cannot be written and its partition"
        " waits; 30 s, so that the partition goes on soon after the repair.",
    )


class Commit(Table):
    """The offsets that are committed to Kafka."""

    interval_s: float = Field(
        default=1.0,
        ge=0.05,
        le=3_600.0,
        description="Pause between commits in seconds; 1 s, because a killed daemon repeats the deliveries of one"
        " interval and a commit is one small request.",
    )
    metadata: Literal["ascii", "utf16"] = Field(
        default="ascii",
        description="Text form of the offset map in a commit; ascii, because every broker counts it alike. Apache"
        " Kafka counts UTF-16 units, so that utf16 holds two and a half times as much.",
    )
    metadata_units_max: int = Field(
        default=4_096,
        ge=160,
        le=10_000,
        description="Length of the offset map; 4,096, the default of the broker's offset.metadata.max.bytes.",
    )


class Rebalance(Table):
    """The hand-over of partitions between instances."""

    drain_timeout_s: float = Field(
        default=35.0,
        ge=0.1,
        le=7_200.0,
        description="Time in seconds that a partition that moves waits for its deliveries in flight; if it is not"
        " set, 5 s more than delivery.timeout_s (delivery.lease_s of a stream or pull), so that no delivery is cut"
        " off.",
    )


class Subscription(Table):
    """One consumer group, its topics, and one application; a daemon runs several subscriptions."""

    name: Annotated[str, Allowed("1 to 63 of a-z A-Z 0-9 . _ -, the first one of a-z A-Z 0-9")] = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="Name of the subscription in logs, metrics and headers; no default, because it is public.",
        examples=["billing"],
    )
    topics: Annotated[
        tuple[Topic, ...],
        Field(strict=False, min_length=1, max_length=1_000),
        WithJsonSchema(
            {"anyOf": [{"type": "array", "items": TEXT_SCHEMA, "minItems": 1, "maxItems": 1_000}, ENV_SCHEMA]}
        ),
    ] = Field(
        description='Topics to read; `{ env = "NAME" }` stands for one topic, or for all of them with commas between.',
        examples=[["orders"]],
    )
    group: Group = Field(
        description="Consumer group; no default, because another group starts again.",
        examples=["billing"],
    )
    start: Start = Field(
        default="earliest",
        description="Position from which a group without commits reads, committed at once; earliest, so that no"
        " record is missed. A partition that the group has not read before is read from its first record, even if"
        " it was added while no daemon ran.",
    )
    out_of_range: Literal["earliest", "latest", "stop"] = Field(
        default="earliest",
        description="Position from which to go on if the committed offset is no longer in the log; earliest,"
        " because it skips the fewest records.",
    )
    isolation_level: Literal["read_committed", "read_uncommitted"] = Field(
        default="read_committed",
        description="Deliver records of committed transactions only, or also of open and aborted ones;"
        " read_committed, because an aborted transaction never happened.",
    )
    delivery: Delivery = Field(description="Protocol and address of the application.")
    ordering: Ordering = Field(default=Ordering(), description="The order of deliveries.")
    pending: Pending = Field(default=Pending(), description="Bounds per partition.")
    retry: Retry = Field(default=Retry(), description="Attempts and pauses.")
    breaker: Breaker = Field(default=Breaker(), description="Detection of an outage.")
    dead_letter: DeadLetter = Field(default=DeadLetter(), description="The dead-letter topic.")
    commit: Commit = Field(default=Commit(), description="Commits of offsets.")
    rebalance: Rebalance = Field(default=Rebalance(), description="Hand-over of partitions.")

    @model_validator(mode="before")
    @classmethod
    def _follow_delivery(cls, given: object) -> object:
        """Set `rebalance.drain_timeout_s` by the bound of a delivery where nobody has set it."""
        if not isinstance(given, dict):
            return given
        table, delivery = given.get("rebalance", {}), given.get("delivery")
        if not isinstance(table, dict) or "drain_timeout_s" in table or not isinstance(delivery, dict):
            return given
        bound = DELIVERY_BOUND.get(str(delivery.get("protocol")), "")
        match delivery.get(bound):
            case bool():
                return given
            case int() | float() as most if 0 < most <= DELIVERY_BOUND_MAX_S:
                return {**given, "rebalance": {**table, "drain_timeout_s": most + DRAIN_SPARE_S}}
            case _:
                return given

    @model_validator(mode="before")
    @classmethod
    def _name_dead_letter_topic(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        table = given.get("dead_letter", {})
        if not isinstance(table, dict) or table.get("topic"):
            return given
        match given:
            case {"name": str(name), "topics": [str(first), *_]}:
                return {**given, "dead_letter": {**table, "topic": dead_letter_topic(name, first)}}
            case _:
                return given


def dead_letter_topic(name: str, first_topic: str) -> str:
    """Return the default dead-letter topic; empty if it would be no valid name, which the checks of its parts report."""
    topic = f"{first_topic}.{name}.dlq"
    return topic if TOPIC.fullmatch(topic) else ""
