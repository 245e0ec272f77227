"""A subscription: one consumer group, its topics, and one application endpoint. The source of its reference page."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema, model_validator

from mpsd.config.delivery import Delivery
from mpsd.config.values import ENV_SCHEMA, TEXT_SCHEMA, TOPIC, DeadLetterTopic, Group, Start, Table, Topic
from mpsd.config.words import Allowed

DELIVERY_BOUND = {"rest": "timeout_s", "stream": "lease_s", "pull": "lease_s"}
"""Which key says how long a delivery may take, by protocol."""
DELIVERY_BOUND_MAX_S = 3_600.0
DRAIN_SPARE_S = 5.0
"""How much longer than a delivery a partition that moves waits, unless somebody says how long."""


class Ordering(Table):
    """What is delivered in order."""

    by: Literal["key", "partition", "none"] = Field(
        default="key",
        description="What forms a lane, in which one record is in flight at a time; the key, as producers mean it.",
    )
    null_key: Literal["none", "partition"] = Field(
        default="none",
        description="Records without a key: free, or all of a partition in one lane; free, as who wants order sets a key.",
    )
    after_dead_letter: Literal["continue", "block"] = Field(
        default="continue",
        description="What becomes of a key after one of its records was dead-lettered: it goes on, or its later records"
        " follow into the dead-letter topic until somebody replays or skips them; it goes on, so that nobody needs to be"
        " awake.",
    )
    blocked_keys_max: int = Field(
        default=10_000,
        ge=1,
        le=100_000,
        description="Keys of the subscription blocked at a time under `block`, beyond which a partition waits; 10,000 are no"
        " accident any more.",
    )


class Pending(Table):
    """Records read and not yet settled, of each partition."""

    records_max: int = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="Records held per partition; enough that one slow key does not stop the others behind it.",
    )
    bytes_max: int = Field(
        default=33_554_432,
        ge=1_024,
        le=1_099_511_627_776,
        description="Bytes held per partition, overhead included; 32 MiB, so that one partition never takes more than"
        " half of limits.pending_bytes_max.",
    )


class Retry(Table):
    """What becomes of a record whose delivery failed."""

    attempts_max: int = Field(
        default=13,
        ge=1,
        le=1_000,
        description="Deliveries before a record is dead-lettered; 13, which with the pauses between them take one to two"
        " minutes: longer than most brown-outs. An outage spends none.",
    )
    crowding_attempts_max: int = Field(
        default=5,
        ge=1,
        le=1_000,
        description="Deliveries before a record is dead-lettered while those behind it in its key fill more than a"
        " quarter of its partition's room; five, within about a second, so that one failing key never stops the others.",
    )
    backoff_initial_s: float = Field(
        default=0.1,
        ge=0.001,
        le=3_600.0,
        description="Longest first pause, doubled with each attempt; a pause is random between half of it and all of it."
        " 0.1 s is over before anyone waits.",
    )
    backoff_max_s: float = Field(
        default=24.0,
        ge=0.001,
        le=86_400.0,
        description="Longest pause; 24 s, so that a record whose endpoint works again is delivered within half a minute.",
    )
    failing_key_after: int = Field(
        default=3,
        ge=0,
        le=1_000,
        description="Records of one key that must exhaust their attempts in a row until later ones get a single"
        " attempt; 0: never. Three tell a broken key from bad luck.",
    )
    failing_keys_max: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Failing keys that are remembered; 10,000 cost a few MiB at most.",
    )
    record_age_max_s: float = Field(
        default=0.0,
        ge=0.0,
        le=315_360_000.0,
        description="Age at which a record is dead-lettered as expired; 0: never, as only the application knows when"
        " news is old.",
    )
    lost_window_s: float = Field(
        default=1.0,
        ge=0.0,
        le=60.0,
        description="How near in time lost deliveries count as one event, for which no record is charged; 1 s, as the"
        " connections to a dying process break within that.",
    )


class Breaker(Table):
    """How an outage of the endpoint is told from a record that it cannot take."""

    lanes_min: int = Field(
        default=3,
        ge=1,
        le=1_000,
        description="Keys (lanes) that must fail, with no success between, until deliveries pause; three keys rarely go"
        " bad at once.",
    )
    failures_min: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Failures in a row, with no success between, that pause deliveries at once; fewer do after"
        " probe_interval_s. 20, as half of all requests failing at random is no outage.",
    )
    rejections_max: int = Field(
        default=100,
        ge=0,
        le=1_000_000,
        description="Rejected records (400, 422 and the like) in a row, with no success between, that are dead-lettered"
        " until the subscription stops doing so and waits for a success or an operator; 0: never. A bad deploy rejects"
        " everything, and 100 records are replayed in a second.",
    )
    successes_between: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Deliveries of others that succeed while a record fails until the blame is its own; 20 are no"
        " coincidence.",
    )
    probe_interval_s: float = Field(
        default=1.0,
        ge=0.01,
        le=3_600.0,
        description="Longest pause between probes while deliveries pause; the first pause is an eighth of it. One probe"
        " a second burdens nobody and finds the endpoint soon.",
    )


class DeadLetter(Table):
    """Where records go that the application cannot take."""

    topic: DeadLetterTopic = Field(
        default="",
        description="The topic, created if absent, of this subscription alone and never a source; empty:"
        " `<first topic>.<name>.dlq`, which says whose it is.",
        examples=["orders.billing.dlq"],
    )
    retention_s: int = Field(
        default=1_209_600,
        ge=0,
        le=315_360_000,
        description="How long a created topic keeps them; 0: for ever. Two weeks, so that a holiday loses none.",
    )
    replication_factor: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Copies of a created topic; 0: three, or as many as there are brokers.",
    )
    replays_max: int = Field(
        default=3,
        ge=1,
        le=100,
        description="Replays after which a record that fails again is quarantined: replayed only if asked for by name;"
        " three tell that nothing has changed.",
    )
    write_timeout_s: float = Field(
        default=10.0,
        ge=0.1,
        le=600.0,
        description="How long a write may wait for all in-sync replicas until it is tried again; 10 s outlast a"
        " change of leader.",
    )
    backoff_initial_s: float = Field(
        default=0.5,
        ge=0.001,
        le=3_600.0,
        description="Pause before the first repeated write, then doubled; 0.5 s, about what a change of leader takes.",
    )
    backoff_max_s: float = Field(
        default=30.0,
        ge=0.001,
        le=86_400.0,
        description="Longest pause between writes while the topic cannot be written and its partition waits; 30 s, so"
        " that it goes on soon after the repair.",
    )


class Commit(Table):
    """When progress is written to Kafka."""

    interval_s: float = Field(
        default=1.0,
        ge=0.05,
        le=3_600.0,
        description="Pause between commits; 1 s bounds what a kill repeats and costs one small request.",
    )
    metadata: Literal["ascii", "utf16"] = Field(
        default="ascii",
        description="How the offset map beside a commit is packed; ascii, which every broker counts alike. Apache Kafka"
        " counts UTF-16 units, of which utf16 makes two and a half times as much.",
    )
    metadata_units_max: int = Field(
        default=4_096,
        ge=160,
        le=10_000,
        description="Length of the offset map; what offset.metadata.max.bytes of a broker is where nobody changed it.",
    )


class Rebalance(Table):
    """How a partition changes hands."""

    drain_timeout_s: float = Field(
        default=35.0,
        ge=0.1,
        le=7_200.0,
        description="How long a partition that moves waits for its deliveries in flight; unless it is set, 5 s more than"
        " delivery.timeout_s (delivery.lease_s of a stream or pull), so that none is cut off.",
    )


class Subscription(Table):
    """One consumer group, its topics, and one application endpoint; a daemon runs several."""

    name: Annotated[str, Allowed("a dead letter or digit, then up to 62 of a-z A-Z 0-9 . _ -")] = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="Its name in logs, metrics and headers; no default, as it is public.",
        examples=["billing"],
    )
    topics: Annotated[
        tuple[Topic, ...],
        Field(strict=False, min_length=1, max_length=1_000),
        WithJsonSchema(
            {"anyOf": [{"type": "array", "items": TEXT_SCHEMA, "minItems": 1, "maxItems": 1_000}, ENV_SCHEMA]}
        ),
    ] = Field(
        description='Topics to read; `{ env = "NAME" }` stands for one of them, or for all of them with commas between.',
        examples=[["orders"]],
    )
    group: Group = Field(
        description="Consumer group; no default, as another name means to start over.",
        examples=["billing"],
    )
    start: Start = Field(
        default="earliest",
        description="Where a group without commits begins, committed at once; earliest, so that nothing is left out. A partition"
        " that the group has not seen before begins at its first record, also where it was added while no daemon ran.",
    )
    out_of_range: Literal["earliest", "latest", "stop"] = Field(
        default="earliest",
        description="Where to go on if the committed offset is gone from the log; earliest, which leaves out the least.",
    )
    isolation_level: Literal["read_committed", "read_uncommitted"] = Field(
        default="read_committed",
        description="Whether records of open or aborted transactions are delivered; not, as they may never have happened.",
    )
    delivery: Delivery = Field(description="How records reach the application.")
    ordering: Ordering = Field(default=Ordering(), description="What is delivered in order.")
    pending: Pending = Field(default=Pending(), description="Bounds per partition.")
    retry: Retry = Field(default=Retry(), description="What becomes of failed deliveries.")
    breaker: Breaker = Field(default=Breaker(), description="How an outage is recognised.")
    dead_letter: DeadLetter = Field(default=DeadLetter(), description="Where refused records go.")
    commit: Commit = Field(default=Commit(), description="When progress is written.")
    rebalance: Rebalance = Field(default=Rebalance(), description="How a partition changes hands.")

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
    """The topic where none is named; empty where the parts make no topic's name, which is reported of them."""
    topic = f"{first_topic}.{name}.dlq"
    return topic if TOPIC.fullmatch(topic) else ""
