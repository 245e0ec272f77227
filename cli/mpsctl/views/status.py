"""The fleet at a glance."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from mps.admin.v1 import admin_pb2 as pb
from mpsctl.views.fleet import Instance, Pause, Provenance, RecordRef
from mpsctl.views.replays import Replay
from mpsctl.views.values import UNKNOWN, Severity, optional, seconds_of, time_of, word


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The records that are on their way."""

    lag_records: int
    """Records between the committed offset and the log end."""
    lag_age_s: float | None
    """Age of the first record beyond the committed offset."""
    pending_records: int
    """Records read and not settled."""
    pending_bytes: int
    """Bytes of them, overhead included."""
    in_flight_records: int
    """Records at the application now."""
    backing_off_records: int
    """Records that wait for their back-off."""
    oldest: RecordRef | None
    """The oldest unfinished record."""

    @classmethod
    def of(cls, message: pb.Flow) -> Self:
        return cls(
            lag_records=message.lag_records,
            lag_age_s=seconds_of(message, "lag_age"),
            pending_records=message.pending_records,
            pending_bytes=message.pending_bytes,
            in_flight_records=message.in_flight_records,
            backing_off_records=message.backing_off_records,
            oldest=RecordRef.of(message.oldest) if message.HasField("oldest") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCount:
    """The number of partitions in a state."""

    state: str
    """One of the [states](states.md)."""
    severity: Severity
    """How bad it is."""
    partitions: int
    """How many."""

    @classmethod
    def of(cls, message: pb.StateCount) -> Self:
        return cls(
            state=message.state or UNKNOWN,
            severity=word(pb.Severity, message.severity),
            partitions=message.partitions,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """A daemon that left a group."""

    address: str
    """`host:port` of its admin listener, as it advertised it."""
    left_at: datetime | None
    """When the others noticed."""

    @classmethod
    def of(cls, message: pb.Departure) -> Self:
        return cls(address=message.address, left_at=time_of(message, "left_at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition."""

    topic: str
    """Topic."""
    partition: int
    """Number."""
    instance: str
    """The daemon that owns it, whether it answers or not."""
    epoch: int
    """The fencing number of this ownership."""
    state: str
    """One of the [states](states.md); `unknown` if no daemon that answers has it."""
    state_severity: Severity
    """How bad that is."""
    state_reason: str
    """Why, for people to read; empty when running."""
    flow: Flow | None
    """How much there is of everything; null: not known, as its daemon does not answer."""
    lag_records: int | None
    """Records between the committed offset and the log end: as its daemon says, else as Kafka does; null: not known."""
    next_offset: int | None
    """Committed offset: the next record to be settled; null: none yet, or not known."""
    log_end: int | None
    """The log's end, as last heard; null: not known."""
    blocked_keys: int | None
    """Keys blocked behind dead letters: what comes of them goes to the dead-letter topic undelivered; null: not known."""
    paused_lanes: int | None
    """Lanes that wait for a key that is paused; null: not known."""
    room_records: int | None
    """How many records more are read until the partition is full, and all its keys wait; null: not known."""
    room_bytes: int | None
    """How many bytes more; null: not known."""

    @classmethod
    def of(cls, message: pb.PartitionStatus) -> Self:
        return cls(
            topic=message.topic,
            partition=message.partition,
            instance=message.instance,
            epoch=message.epoch,
            state=message.state or UNKNOWN,
            state_severity=word(pb.Severity, message.state_severity),
            state_reason=message.state_reason,
            flow=Flow.of(message.flow) if message.HasField("flow") else None,
            lag_records=message.flow.lag_records if message.HasField("flow") else optional(message, "lag_records"),
            next_offset=None if message.next_offset < 0 else message.next_offset,
            log_end=None if message.log_end < 0 else message.log_end,
            blocked_keys=message.blocked_keys if message.HasField("flow") else None,
            paused_lanes=message.paused_lanes if message.HasField("flow") else None,
            room_records=message.room_records if message.HasField("flow") else None,
            room_bytes=message.room_bytes if message.HasField("flow") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Limits that an operator has set."""

    rate_max_per_s: float | None
    """Deliveries in each second, a total of the fleet; 0: none; null: as configured."""
    concurrency_max: int | None
    """Deliveries at once, of each daemon; null: as configured."""
    provenance: Provenance
    """Whose they are."""

    @classmethod
    def of(cls, message: pb.LimitState) -> Self:
        return cls(
            rate_max_per_s=optional(message, "rate_max_per_s"),
            concurrency_max=optional(message, "concurrency_max"),
            provenance=Provenance.of(message.provenance),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint at which nothing succeeds."""

    since: datetime | None
    """When deliveries began to fail, or to be rejected, without a success between."""
    reason: str
    """The last failure or rejection, for people to read."""
    rejections: int
    """Records dead-lettered in a row before dead-lettering stopped."""
    waiting_records: int
    """Records that wait."""
    rejections_accepted: bool
    """An operator accepted the rejections: records are dead-lettered until a delivery succeeds."""

    @classmethod
    def of(cls, message: pb.EndpointStatus) -> Self:
        return cls(
            since=time_of(message, "since"),
            reason=message.reason,
            rejections=message.rejections,
            waiting_records=message.waiting_records,
            rejections_accepted=message.rejections_accepted,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A delivery that failed."""

    record: RecordRef
    """The record."""
    failed_at: datetime | None
    """When it failed."""
    reason: str
    """What the application answered, in its own words where it has some."""
    code: str
    """The outcome, such as `delivery.status_422`."""
    dead_lettered: bool
    """Whether the record went to the dead-letter topic for it."""

    @classmethod
    def of(cls, message: pb.Failure) -> Self:
        return cls(
            record=RecordRef.of(message.record),
            failed_at=time_of(message, "failed_at"),
            reason=message.reason,
            code=message.code,
            dead_lettered=message.dead_lettered,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription, over all daemons that answered."""

    name: str
    """Its name."""
    group: str
    """Its consumer group."""
    state: str
    """One of the [states](states.md): the worst that any of its partitions is in."""
    state_severity: Severity
    """How bad that is."""
    state_reason: str
    """Why, for people to read; empty when running."""
    partition_states: tuple[StateCount, ...]
    """How many of its partitions are in each state, the worst state first."""
    partial: bool
    """Whether sums lack partitions, because no daemon that answered has them: all sums but that of the lag."""
    missing_partitions: int
    """How many partitions these are."""
    lag_missing_partitions: int
    """Those of them that the lag lacks too, because Kafka did not say how far they lag."""
    flow: Flow
    """How much there is of everything."""
    delivered_per_s: float
    """Records accepted in each second, mean of the last 10 s."""
    retried_per_s: float
    """Deliveries to be repeated in each second, mean of the last 10 s."""
    dead_letters: int
    """Records dead-lettered since the daemons started."""
    unresolved_dead_letters: int | None
    """Records in the dead-letter topic that no replay has settled, as of some seconds ago; null: not known."""
    replays: tuple[Replay, ...]
    """Replays that are not over, the oldest first."""
    pauses: tuple[Pause, ...]
    """The pauses that hold now."""
    limit: Limit | None
    """The limits that hold now; null: none but the configured."""
    partitions: tuple[Partition, ...]
    """Its partitions, with `--partitions`."""
    blocked_keys: int
    """Keys blocked behind dead letters, of all its partitions."""
    tightest: Partition | None
    """Of the partitions in which records of paused keys wait, the one with the least room left; null: there is none."""
    endpoint: Endpoint | None
    """The endpoint, while deliveries to it pause or its rejections are accepted; null: it is up."""
    last_failure: Failure | None
    """The last delivery that failed; null: none did since the daemons started."""

    @classmethod
    def of(cls, message: pb.SubscriptionStatus) -> Self:
        return cls(
            name=message.name,
            group=message.group,
            state=message.state or UNKNOWN,
            state_severity=word(pb.Severity, message.state_severity),
            state_reason=message.state_reason,
            partition_states=tuple(map(StateCount.of, message.partition_states)),
            partial=message.missing_partitions > 0,
            missing_partitions=message.missing_partitions,
            lag_missing_partitions=message.lag_missing_partitions,
            flow=Flow.of(message.flow),
            delivered_per_s=message.delivered_per_s,
            retried_per_s=message.retried_per_s,
            dead_letters=message.dead_letters,
            unresolved_dead_letters=optional(message, "unresolved_dead_letters"),
            replays=tuple(map(Replay.of, message.replays)),
            pauses=tuple(map(Pause.of, message.pauses)),
            limit=Limit.of(message.limit) if message.HasField("limit") else None,
            partitions=tuple(map(Partition.of, message.partitions)),
            blocked_keys=message.blocked_keys,
            tightest=Partition.of(message.tightest) if message.HasField("tightest") else None,
            endpoint=Endpoint.of(message.endpoint) if message.HasField("endpoint") else None,
            last_failure=Failure.of(message.last_failure) if message.HasField("last_failure") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of the fleet: `status`."""

    taken_at: datetime | None
    """When it was put together."""
    subscriptions: tuple[Subscription, ...]
    """The subscriptions, by name."""
    instances: tuple[Instance, ...]
    """The daemons, by address."""
    departures: tuple[Departure, ...]
    """Daemons that left within the last hour and are not back, the last first."""

    @classmethod
    def of(cls, message: pb.Status) -> Self:
        return cls(
            taken_at=time_of(message, "taken_at"),
            subscriptions=tuple(map(Subscription.of, message.subscriptions)),
            instances=tuple(map(Instance.of, message.instances)),
            departures=tuple(map(Departure.of, message.departures)),
        )
