"""Replay tasks, as the wire says them."""

from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.dead_letter_wire import wire_filter
from mpsd.admin.times import duration, timestamp
from mpsd.core.replay import ReplayState, ReplayTarget, ReplayTask
from mpsd.pipeline.replay.tasks import Replays

_STATES: Mapping[ReplayState, pb.ReplayState.ValueType] = {
    each: pb.ReplayState.Value(f"REPLAY_STATE_{each.name}") for each in ReplayState
}


def wire_replay(replays: Replays, task: ReplayTask) -> pb.Replay:
    """Say what a task is and how far it has come."""
    plan, (counts, left, _) = task.plan, replays.book.total(task)
    is_running = task.state is ReplayState.RUNNING
    sent_per_s, left_s = replays.speed(task) if is_running else (0.0, None)
    reason = task.reason or (replays.waiting(task) if is_running else "")
    if counts.left_out:
        reason = f"{reason}; " if reason else ""
        reason += f"{counts.left_out} have no value in the dead-letter topic and were left out"
    return pb.Replay(
        id=task.id,
        plan=pb.ReplayPlan(
            subscription=task.subscription,
            filter=wire_filter(plan.filter),
            target=pb.REPLAY_TARGET_TOPIC if plan.target is ReplayTarget.TOPIC else pb.REPLAY_TARGET_APPLICATION,
            rate_max_per_s=plan.rate_max_per_s,
            records_max=plan.records_max,
            again=plan.again,
            include_quarantined=plan.include_quarantined,
        ),
        state=_STATES[task.state],
        state_reason=reason,
        matched_records=counts.matched,
        sent_records=counts.sent,
        succeeded_records=counts.succeeded,
        failed_records=counts.failed,
        expired_records=counts.expired,
        left_records=left if not task.state.is_over else 0,
        sent_per_s=sent_per_s,
        left=duration(left_s) if left_s is not None else None,
        started_at=timestamp(task.started_at_ms),
        ended_at=timestamp(task.ended_at_ms) if task.ended_at_ms is not None else None,
        provenance=_provenance(task),
        started_by=task.started_by,
        started_reason=task.started_reason,
    )


def _provenance(task: ReplayTask) -> pb.Provenance:
    who, reason, at_ms, *_ = task.provenance
    changed_at: Timestamp = timestamp(at_ms)
    return pb.Provenance(who=who, changed_at=changed_at, reason=reason, revision=task.revision)
