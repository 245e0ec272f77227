"""The state of the fleet, its subscriptions and their partitions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from typing_extensions import override

from mpsctl.views.fleet import Instance, Pause, Provenance, RecordRef
from mpsctl.views.replays import Replay
from mpsctl.views.values import Severity, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(View):
    """Counts of the records that are not settled."""

    lag_records: int
    """Number of records between the committed offset and the end of the log, 0 or more."""
    lag_age_s: float | None
    """Age in seconds of the first record behind the committed offset; null: there is none."""
    pending_records: int
    """Number of records that are read and not settled, 0 or more."""
    pending_bytes: int
    """Memory in bytes that the pending records take, overhead included."""
    in_flight_records: int
    """Number of records that the application has and has not answered, 0 or more."""
    backing_off_records: int
    """Number of records that wait for their next attempt, 0 or more."""
    oldest: RecordRef | None
    """Position of the oldest record that is not settled; null: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCount(View):
    """The number of partitions in one state."""

    state: str
    """One of the [states](states.md)."""
    severity: Severity
    """Severity of the state."""
    partitions: int
    """Number of partitions in the state, 1 or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure(View):
    """A daemon that left a group."""

    address: str
    """Address of its admin listener, `host:port`, as it advertised it."""
    left_at: datetime | None
    """Time at which the other daemons noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(View):
    """A partition and its owner."""

    topic: str
    """Name of the topic."""
    partition: int
    """Number of the partition, 0 or more."""
    instance: str
    """Address of the daemon that owns the partition, even if the daemon does not answer; empty: no daemon owns it."""
    epoch: int
    """Number that rises with each change of the owner; 0 if unknown."""
    state: str
    """One of the [states](states.md); `unknown` if the daemon does not answer."""
    state_severity: Severity
    """Severity of the state."""
    state_reason: str
    """Reason for the state, for people to read; empty when running."""
    flow: Flow | None
    """Counts of the partition's records; null: its daemon does not answer."""
    lag_records: int | None
    """Number of records between the committed offset and the end of the log, as the daemon reports it, or as Kafka does
    if the daemon does not answer; null if unknown."""
    next_offset: int | None
    """Committed offset, which is the offset of the next record to be settled; null: none yet, or unknown."""
    log_end: int | None
    """Last known offset of the end of the log; null if unknown."""
    blocked_keys: int | None
    """Number of keys whose later records go to the dead-letter topic undelivered, until a replay or a skip releases them;
    null if unknown."""
    paused_lanes: int | None
    """Number of keys with records that wait because the key is paused; null if unknown."""
    room_records: int | None
    """Number of records that can still be read before the partition is full and all its keys wait; null if unknown."""
    room_bytes: int | None
    """Number of bytes that can still be read before the partition is full; null if unknown."""

    @override
    @classmethod
    def other_values(cls, message: Any) -> dict[str, Any]:
        """Return the values that are unknown without an answer of the partition's daemon."""
        known = message.HasField("flow")
        counts = ("blocked_keys", "paused_lanes", "room_records", "room_bytes")
        return {
            **{name: getattr(message, name) if known else None for name in counts},
            **({"lag_records": message.flow.lag_records} if known else {}),
            "next_offset": None if message.next_offset < 0 else message.next_offset,
            "log_end": None if message.log_end < 0 else message.log_end,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit(View):
    """The limits that an operator has set."""

    rate_max_per_s: float | None
    """Largest number of deliveries per second, of all daemons together; 0: no limit; null: as configured."""
    concurrency_max: int | None
    """Largest number of deliveries in flight, of each daemon; null: as configured."""
    provenance: Provenance
    """Author, time and reason of the limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(View):
    """An application whose deliveries all fail or are all rejected."""

    since: datetime | None
    """Time of the first of the failures or rejections, with no success since then; null if unknown."""
    reason: str
    """The last failure or rejection, for people to read."""
    rejections: int
    """Number of records in a row that were dead-lettered as rejected before dead-lettering stopped, 0 or more."""
    waiting_records: int
    """Number of records that wait, 0 or more."""
    rejections_accepted: bool
    """True if an operator accepted the rejections, so that records are dead-lettered until a delivery succeeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure(View):
    """A delivery that failed."""

    record: RecordRef
    """Position of the record."""
    failed_at: datetime | None
    """Time of the failure."""
    reason: str
    """Reason for the failure, for people to read: the application's own reason if it gave one."""
    code: str
    """One of the [outcomes](errors.md), such as `delivery.status_422`."""
    dead_lettered: bool
    """True if the record was dead-lettered because of this failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription(View):
    """A subscription, with the sums of all daemons that answered."""

    name: str
    """Name of the subscription."""
    group: str
    """Name of its consumer group."""
    state: str
    """The worst state of its partitions, one of the [states](states.md)."""
    state_severity: Severity
    """Severity of the state."""
    state_reason: str
    """Reason for the state, for people to read; empty when running."""
    partition_states: tuple[StateCount, ...]
    """Number of partitions in each state, the worst state first."""
    partial: bool
    """True if sums lack partitions, because daemons do not answer; the lag still includes them (see
    `lag_missing_partitions`)."""
    missing_partitions: int
    """Number of partitions that the sums lack, 0 or more."""
    lag_missing_partitions: int
    """Number of partitions that the lag lacks too, because Kafka did not report their lag, 0 or more."""
    flow: Flow
    """Counts of the records of all its partitions."""
    delivered_per_s: float
    """Records accepted per second, mean of the last 10 s."""
    retried_per_s: float
    """Failed deliveries per second that are tried again, mean of the last 10 s."""
    dead_letters: int
    """Number of records dead-lettered since the daemons started, 0 or more."""
    unresolved_dead_letters: int | None
    """Number of records in the dead-letter topic that no replay has settled, some seconds ago; null if not counted yet."""
    replays: tuple[Replay, ...]
    """Replays that have not ended, the oldest first."""
    pauses: tuple[Pause, ...]
    """Pauses that are in effect."""
    limit: Limit | None
    """Limits that an operator has set; null: only the configured limits are in effect."""
    partitions: tuple[Partition, ...]
    """With `--partitions`, its partitions; else empty."""
    blocked_keys: int
    """Number of blocked keys of all its partitions, 0 or more."""
    tightest: Partition | None
    """The partition with paused keys that has the least room for more records; null: no paused key has records."""
    endpoint: Endpoint | None
    """Details of an application that fails or rejects everything; null: the application is available."""
    last_failure: Failure | None
    """The last delivery that failed; null: none failed since the daemons started."""

    @override
    @classmethod
    def other_values(cls, message: Any) -> dict[str, Any]:
        return {"partial": message.missing_partitions > 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(View):
    """The state of the fleet: `status`."""

    taken_at: datetime | None
    """Time at which the values were collected."""
    subscriptions: tuple[Subscription, ...]
    """The subscriptions, by name."""
    instances: tuple[Instance, ...]
    """The daemons, by address."""
    departures: tuple[Departure, ...]
    """Daemons that left a group within the last hour and are not back, the last one first."""
