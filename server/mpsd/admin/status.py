"""The status of this daemon, as messages of the admin service."""

from collections.abc import Collection, Sequence

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.daemon import Steerable
from mpsd.admin.fleet import instance_of
from mpsd.admin.rates import Rates
from mpsd.admin.wire import SEVERITIES, duration, provenance_of, timestamp, wall_ms, wire_replay
from mpsd.core.breaker import EndpointState
from mpsd.core.limits import Limit
from mpsd.core.pauses import Pause, Scope
from mpsd.core.states import DeliveryState
from mpsd.pipeline.failure import Failure
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.statistics import PartitionStatistics, SubscriptionStatistics

KEY_BYTES_MAX = 1024
KEYS_MAX = 100


def status_of(daemon: Steerable, rates: Rates, subscription: str = "", *, partitions: bool = False) -> pb.Status:
    """Return the status of all subscriptions, or of one."""
    said = [pipeline for pipeline in daemon.pipelines if subscription in {"", pipeline.settings.name}]
    return pb.Status(
        taken_at=timestamp(wall_ms(daemon.clock)),
        subscriptions=[_said_of(daemon, pipeline, rates, partitions=partitions) for pipeline in said],
        instances=[instance_of(daemon)],
        departures=departures_of(daemon),
        states=[state.value for state in DeliveryState],
    )


def _said_of(daemon: Steerable, pipeline: Pipeline, rates: Rates, *, partitions: bool) -> pb.SubscriptionStatus:
    group = pipeline.settings.sender.group
    said = subscription_of(
        daemon.peer.admin, group, pipeline.statistics(), rates, wall_ms(daemon.clock), partitions=partitions
    )
    if (replays := pipeline.replays) is not None:
        said.replays.extend(wire_replay(replays, task) for task in replays.unfinished())
    return said


def departures_of(daemon: Steerable) -> list[pb.Departure]:
    """Return who left a group that this daemon is in, as far as it saw it."""
    return [
        pb.Departure(address=address, left_at=timestamp(at_ms))
        for pipeline in daemon.pipelines
        for address, at_ms in pipeline.departures().items()
    ]


def subscription_of(
    address: str, group: str, said: SubscriptionStatistics, rates: Rates, now_ms: int, *, partitions: bool
) -> pb.SubscriptionStatus:
    parts = [partition_of(address, part) for part in said.partitions]
    state, reason = said.situation()
    pauses = [pause for pause in said.pauses if pause.holds(now_ms)]
    if state is DeliveryState.PAUSED:
        reason = _why_paused(pauses) or reason
    per_second = rates.of(said.name)
    return pb.SubscriptionStatus(
        name=said.name,
        group=group,
        state=state.value,
        state_severity=SEVERITIES[state.severity],
        state_reason=reason,
        flow=_flow(said, [part.flow for part in parts]),
        delivered_per_s=per_second.delivered,
        retried_per_s=per_second.retried,
        dead_letters=sum(said.dead_letters.values()),
        unresolved_dead_letters=said.unresolved_dead_letters if said.unresolved_dead_letters >= 0 else None,
        pauses=[pause_of(pause) for pause in pauses],
        limit=limit_of(said.limit) if said.limit is not None else None,
        partitions=parts if partitions else (),
        blocked_keys=said.blocked_keys,
        endpoint=endpoint_of(said),
        last_failure=failure_of(said.last_failure) if said.last_failure is not None else None,
        tightest=min((part for part in parts if part.paused_lanes), key=lambda part: part.room_records, default=None),
    )


def endpoint_of(said: SubscriptionStatistics) -> pb.EndpointStatus | None:
    """Return the status of an endpoint that is not up, or whose rejections are accepted; else None."""
    endpoint = said.endpoint
    if endpoint.state is EndpointState.UP and not endpoint.is_accepted:
        return None
    return pb.EndpointStatus(
        since=timestamp(endpoint.since_ms) if endpoint.since_ms else None,
        reason=endpoint.reason[:KEY_BYTES_MAX],
        rejections=endpoint.rejections,
        waiting_records=sum(part.pending_records for part in said.partitions),
        rejections_accepted=endpoint.is_accepted,
    )


def partition_of(address: str, part: PartitionStatistics) -> pb.PartitionStatus:
    has_oldest = part.oldest >= 0
    return pb.PartitionStatus(
        topic=part.topic,
        partition=part.partition,
        instance=address,
        epoch=max(0, part.epoch),
        state=part.state.value,
        state_severity=SEVERITIES[part.state.severity],
        state_reason=part.reason,
        flow=pb.Flow(
            lag_records=max(0, part.log_end - part.committed) if part.committed >= 0 else max(0, part.lag_records),
            lag_age=duration(part.lag_s) if has_oldest else None,
            pending_records=part.pending_records,
            pending_bytes=part.pending_bytes,
            in_flight_records=part.in_flight,
            oldest=pb.RecordRef(topic=part.topic, partition=part.partition, offset=part.oldest) if has_oldest else None,
        ),
        next_offset=part.committed,
        log_end=part.log_end,
        paused_keys=_cut(part.paused_keys),
        paused_lanes=part.paused_lanes,
        room_records=part.room_records,
        room_bytes=part.room_bytes,
        blocked_keys=part.blocked_keys,
    )


def failure_of(failure: Failure) -> pb.Failure:
    """Return the message of a failure."""
    return pb.Failure(
        record=pb.RecordRef(topic=failure.topic, partition=failure.partition, offset=failure.offset),
        failed_at=timestamp(failure.at_ms),
        reason=failure.reason,
        code=f"delivery.{failure.code}",
        dead_lettered=failure.dead_lettered,
    )


def pause_of(pause: Pause) -> pb.PauseState:
    return pb.PauseState(
        selection=selection_of(pause.scope),
        until=timestamp(pause.until_ms) if pause.until_ms is not None else None,
        provenance=provenance_of(pause.provenance, pause.revision),
    )


def limit_of(limit: Limit) -> pb.LimitState:
    return pb.LimitState(
        rate_max_per_s=limit.rate_max_per_s,
        concurrency_max=limit.concurrency_max,
        provenance=provenance_of(limit.provenance, limit.revision),
    )


def selection_of(scope: Scope) -> pb.Selection:
    return pb.Selection(subscription=scope.subscription, topic=scope.topic, partition=scope.partition, key=scope.key)


def _flow(said: SubscriptionStatistics, flows: Sequence[pb.Flow]) -> pb.Flow:
    flow = pb.Flow(in_flight_records=said.in_flight, backing_off_records=said.backing_off)
    flow.lag_records = sum(each.lag_records for each in flows)
    flow.pending_records = sum(each.pending_records for each in flows)
    flow.pending_bytes = sum(each.pending_bytes for each in flows)
    oldest = max(
        (each for each in flows if each.HasField("oldest")), key=lambda each: each.lag_age.ToNanoseconds(), default=None
    )
    if oldest is not None:
        flow.oldest.CopyFrom(oldest.oldest)
        flow.lag_age.CopyFrom(oldest.lag_age)
    return flow


def _why_paused(pauses: Sequence[Pause]) -> str:
    whole = [pause for pause in pauses if pause.scope.key is None]
    return f"{whole[0].provenance.who}: {whole[0].provenance.reason}" if whole else ""


def _cut(keys: Collection[bytes]) -> list[bytes]:
    return [key[:KEY_BYTES_MAX] for key in sorted(keys)[:KEYS_MAX]]
