"""Statistics of a subscription: plain values, taken in one step, for metrics, admin and tests."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mpsd.core.delivery import Delivery
from mpsd.core.histogram import Histogram
from mpsd.core.limits import Limit
from mpsd.core.pauses import Pause
from mpsd.core.states import ALL_WELL, DeliveryState, Situation, summarize, worst
from mpsd.pipeline.endpoint import EndpointStatistics
from mpsd.pipeline.failure import Failure
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue

REASON_CHARACTERS_MAX = 300
"""Longest reason of a state: it stands in a line of status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatistics:
    """Statistics of an assigned partition.

    Attributes:
        epoch: generation of the group in which it was acquired.
        state: the worst that holds for it, what holds for all partitions of its subscription included.
        reason: why it is in that state, for people; empty when running.
        lag_records: log end less the offset to be committed; -1 while the log end is unknown.
        lag_s: age of the oldest record that is not finished, in seconds; 0.0 if there is none.
        oldest_unfinished_age_s: how long the oldest unfinished record has been with this daemon, in seconds.
        next_offset: what would be committed now.
        fetched_to: the offset that is read next.
        committed: what was last committed, -1 if nothing yet.
        paused_keys: of which nothing is delivered.
        blocked_keys: likewise, how many: those behind dead letters.
        paused_lanes: lanes that wait for one of them.
        room_records: how many more are read until the partition's bound; the others of it wait then, too.
        room_bytes: likewise.
        oldest: offset of the oldest record that is not finished; -1 if there is none.
        log_end: as last heard; -1 while unknown.
    """

    topic: str
    partition: int
    epoch: int
    state: DeliveryState
    lag_records: int
    lag_s: float
    pending_records: int
    pending_bytes: int
    in_flight: int
    oldest_unfinished_age_s: float
    next_offset: int
    fetched_to: int
    committed: int
    blocked_keys: int
    paused_keys: Collection[bytes] = ()
    paused_lanes: int = 0
    room_records: int = 0
    room_bytes: int = 0
    oldest: int = -1
    log_end: int = -1
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionStatistics:
    """Statistics of a subscription.

    Attributes:
        state: of the subscription alone: `starting`, `waiting`, `running`, `draining` or `failed`; see `situation`.
        reason: why it is in that state, in words; empty when running, unless the control topic cannot be read.
        delivery: what holds for the deliveries of all its partitions, such as an endpoint that is out.
        deliveries: ended deliveries by outcome code, `delivered` among them; codes are a bounded set.
        retries: deliveries to be made again, at the cost of an attempt.
        withdrawn: deliveries to be made again at no cost.
        stale_outcomes: outcomes of deliveries whose partition had moved on; dropped.
        dead_letters: by disposition, acknowledged ones.
        dead_letter_failures: writes to the dead-letter topic that failed and are tried again.
        endpoint: whether deliveries go on, and why not.
        backing_off: lanes that wait for their next attempt.
        suspects: records lost together with others, which go again in groups of their own.
        offset_maps_ignored: by reason, maps of assigned partitions that were not used; their records are delivered again.
        attempts_left_out: records whose attempts had no room in the last commits; a restart forgets them.
        endpoint_latency: from the start of a delivery to its outcome, s.
        end_to_end_latency: from the record's timestamp to its acceptance, s.
        stages: numbers of each stage by name, for the eye.
        lost_offsets: offsets that were passed over because the log no longer had them.
        key_fallbacks: records without a usable idempotency key of their producer, by reason.
        pauses: what operators stopped; some may have ended by themselves.
        limit: what operators set in the place of the configured limits; None: nothing.
        blocked_keys: of all partitions, whoever has them, as the control topic says.
        receiver_gap_s: since an application last came for records; None where it does not have to come.
        last_failure: of a delivery; None: none since the start.
        unresolved_dead_letters: in the dead-letter topic, and not settled by a replay, as last looked; -1: not known yet.
        replays: tasks that are known, by state.
        replayed: dead letters that replays of this daemon have settled since its start, by result.
    """

    name: str
    state: DeliveryState
    reason: str
    partitions: Sequence[PartitionStatistics]
    in_flight: int
    backing_off: int
    suspects: int
    deliveries: Mapping[str, int]
    retries: int
    withdrawn: int
    stale_outcomes: int
    dead_letters: Mapping[str, int]
    dead_letter_failures: int
    endpoint: EndpointStatistics
    commits: int
    commit_failures: int
    offset_maps_ignored: Mapping[str, int]
    attempts_left_out: int
    endpoint_latency: Histogram
    end_to_end_latency: Histogram
    stages: Mapping[str, Mapping[str, float]]
    lost_offsets: int = 0
    key_fallbacks: Mapping[str, int] = field(default_factory=dict)
    pauses: Sequence[Pause] = ()
    limit: Limit | None = None
    blocked_keys: int = 0
    last_failure: Failure | None = None
    unresolved_dead_letters: int = -1
    replays: Mapping[str, int] = field(default_factory=dict)
    replayed: Mapping[str, int] = field(default_factory=dict)
    delivery: Situation = ALL_WELL
    receiver_gap_s: float | None = None

    def situation(self) -> Situation:
        """Return the state that operators are told, and why: the worst of the subscription's and its partitions'."""
        parts = ((f"{part.topic}/{part.partition}", Situation(part.state, part.reason)) for part in self.partitions)
        return summarize((self.delivery, Situation(self.state, self.reason)), parts)


def _age_s(delivery: Delivery, now_s: float, wall_s: float) -> float:
    """Since the record's own time; since it was read, where it has none."""
    timestamp = delivery.record.timestamp
    return max(0.0, wall_s - timestamp / 1000) if timestamp >= 0 else now_s - delivery.read_at_s


def _situations(queue: PartitionQueue) -> Iterator[Situation]:
    """Yield what holds for a partition."""
    for cause, reason in queue.causes.items():
        if isinstance(cause, DeliveryState):
            yield _situation(cause, reason)
    if queue.crowded:
        yield _situation(DeliveryState.BLOCKED_KEYS_FULL)
    if queue.unreadable:
        yield _situation(DeliveryState.UNREADABLE, queue.unreadable)
    if queue.map_full:
        yield _situation(DeliveryState.OFFSET_MAP_FULL)
    if queue.waits_for_transaction and queue.tracker.end <= queue.stable_end:
        yield _situation(DeliveryState.OPEN_TRANSACTION)


def _situation(state: DeliveryState, reason: str = "") -> Situation:
    words = f"{state.reason}: {reason}" if reason else state.reason
    return Situation(state, words[:REASON_CHARACTERS_MAX])


def partition_statistics(
    queue: PartitionQueue, pending: PendingQueue, now_s: float, wall_s: float, delivery: Situation
) -> PartitionStatistics:
    """Take a snapshot of a partition.

    Args:
        delivery: what holds for all partitions of the subscription.
    """
    tracker, oldest = queue.tracker, queue.tracker.oldest()
    behind = queue.high_watermark - tracker.next_offset
    situation = worst((_situation(delivery.state), *_situations(queue)))
    return PartitionStatistics(
        topic=queue.assignment.tp.topic,
        partition=queue.assignment.tp.partition,
        epoch=queue.assignment.epoch,
        state=situation.state,
        lag_records=max(0, behind) if queue.high_watermark >= 0 else -1,
        lag_s=_age_s(oldest, now_s, wall_s) if oldest is not None else 0.0,
        pending_records=len(tracker.unfinished),
        pending_bytes=queue.bytes,
        in_flight=queue.in_flight,
        oldest_unfinished_age_s=now_s - oldest.read_at_s if oldest is not None else 0.0,
        next_offset=tracker.next_offset,
        fetched_to=tracker.end,
        committed=queue.committed,
        paused_keys=queue.paused_keys,
        blocked_keys=len(queue.blocked),
        paused_lanes=len(queue.lanes.paused),
        room_records=max(0, pending.records_max - len(tracker.unfinished)),
        room_bytes=max(0, pending.bytes_max - queue.bytes),
        oldest=oldest.record.offset if oldest is not None else -1,
        log_end=queue.high_watermark,
        reason=situation.reason,
    )
