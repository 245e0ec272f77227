"""Conversions between values of the core and messages of the admin service: times, states, dead letters and replays."""

from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.refusals import InvalidArgument
from mpsd.core.control import Provenance
from mpsd.core.dead_letter_record import DeadLetterFilter, DeadLetterRecord
from mpsd.core.pauses import Scope
from mpsd.core.replay import ReplayState, ReplayTarget, ReplayTask
from mpsd.core.replay_book import ReplayBook
from mpsd.core.retry import Disposition
from mpsd.core.states import DeliveryState, Severity
from mpsd.pipeline.replay.tasks import Replays
from mpsd.ports import Clock

MS_MAX = 253_402_300_799_999
"""The end of the year 9999, which is the end of a Timestamp's range."""


def wall_ms(clock: Clock) -> int:
    """Return the time of day in milliseconds since the epoch."""
    return int(clock.wall_s() * 1000)


def timestamp(at_ms: int) -> Timestamp:
    """Return the message of a time in milliseconds since the epoch, bounded by the range of the message."""
    at_ms = min(max(at_ms, 0), MS_MAX)
    return Timestamp(seconds=at_ms // 1000, nanos=at_ms % 1000 * 1_000_000)


def duration(span_s: float) -> Duration:
    """Return the message of a span in seconds, 0 or more."""
    nanos = round(span_s * 1e9)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def milliseconds(at: Timestamp) -> int:
    """Return milliseconds since the epoch."""
    return int(at.seconds) * 1000 + int(at.nanos) // 1_000_000


def seconds(span: Duration) -> float:
    return float(span.seconds + span.nanos / 1e9)


SEVERITIES: Mapping[Severity, pb.Severity.ValueType] = {
    Severity.OK: pb.SEVERITY_OK,
    Severity.WARNING: pb.SEVERITY_WARNING,
    Severity.ERROR: pb.SEVERITY_ERROR,
}
_BY_WORD: Mapping[str, DeliveryState] = {state.value: state for state in DeliveryState}


def state_of(word: str) -> DeliveryState:
    """Return the state that another daemon names; unknown where it is of a later version."""
    return _BY_WORD.get(word, DeliveryState.UNKNOWN)


REASON_BYTES_MAX = 1_024
KEY_BYTES_MAX = 65_536
KEY_BYTES_SHOWN_MAX = 1_024
STATUS_MAX = 599
_TO_WIRE = {each: pb.Disposition.Value(f"DISPOSITION_{each.name}") for each in Disposition}
_FROM_WIRE = {number: each for each, number in _TO_WIRE.items()}


def filter_of(given: pb.DeadLetterFilter, path: str = "filter") -> DeadLetterFilter:
    """Parse a message of a request; raises InvalidArgument, which names the field."""
    since = milliseconds(given.since) if given.HasField("since") else None
    until = milliseconds(given.until) if given.HasField("until") else None
    partition = given.partition if given.HasField("partition") else None
    if since is not None and until is not None and until <= since:
        raise InvalidArgument(f"{path}.until", "is not after since: nothing could match")
    if unknown := [number for number in given.dispositions if number not in _FROM_WIRE]:
        known = ", ".join(each.value for each in Disposition)
        raise InvalidArgument(f"{path}.dispositions", f"{unknown[0]} is none of {known}")
    if wrong := [status for status in given.statuses if status > STATUS_MAX]:
        raise InvalidArgument(f"{path}.statuses", f"{wrong[0]} is not within 0 and {STATUS_MAX}")
    if len(given.reason_contains.encode()) > REASON_BYTES_MAX:
        raise InvalidArgument(f"{path}.reason_contains", f"has more than {REASON_BYTES_MAX} bytes")
    if partition is not None and (partition < 0 or not given.topic):
        said = f"{partition} is negative" if partition < 0 else "needs topic: which partition of which topic?"
        raise InvalidArgument(f"{path}.partition", said)
    if len(given.key) > KEY_BYTES_MAX:
        raise InvalidArgument(f"{path}.key", f"has {len(given.key)} bytes, more than {KEY_BYTES_MAX}")
    return DeadLetterFilter(
        since_ms=since,
        until_ms=until,
        dispositions=frozenset(_FROM_WIRE[number] for number in given.dispositions),
        statuses=frozenset(given.statuses),
        reason_contains=given.reason_contains,
        topic=given.topic,
        partition=partition,
        key=given.key if given.HasField("key") else None,
    )


def scope_of_filter(subscription: str, wanted: DeadLetterFilter) -> Scope:
    """Return the part of a subscription that the filter names, for `check_topic`."""
    return Scope(subscription, wanted.topic or None, wanted.partition, None)


def wire_filter(wanted: DeadLetterFilter) -> pb.DeadLetterFilter:
    return pb.DeadLetterFilter(
        since=timestamp(wanted.since_ms) if wanted.since_ms is not None else None,
        until=timestamp(wanted.until_ms) if wanted.until_ms is not None else None,
        dispositions=sorted(_TO_WIRE[each] for each in wanted.dispositions),
        statuses=sorted(wanted.statuses),
        reason_contains=wanted.reason_contains,
        topic=wanted.topic,
        partition=wanted.partition,
        key=wanted.key,
    )


def is_replayed(dead_letter: DeadLetterRecord, book: ReplayBook | None) -> bool:
    """Return True if a replay has settled the dead letter, as far as this instance has read; without a book, False."""
    return book is not None and book.is_settled(dead_letter.tp.partition, dead_letter.offset)


def dead_letter_of(dead_letter: DeadLetterRecord, book: ReplayBook | None) -> pb.DeadLetter:
    source, disposition = dead_letter.source, dead_letter.disposition
    return pb.DeadLetter(
        source=pb.RecordRef(topic=source.topic, partition=source.partition, offset=dead_letter.source_offset),
        dead_letter=pb.RecordRef(
            topic=dead_letter.tp.topic, partition=dead_letter.tp.partition, offset=dead_letter.offset
        ),
        key=dead_letter.key[:KEY_BYTES_SHOWN_MAX] if dead_letter.key is not None else None,
        disposition=pb.DISPOSITION_UNSPECIFIED if disposition is None else _TO_WIRE[disposition],
        status=dead_letter.status or 0,
        reason=dead_letter.reason,
        attempts=min(dead_letter.attempts, 0xFFFFFFFF),
        replays=dead_letter.replays,
        dead_lettered_at=timestamp(dead_letter.dead_lettered_at_ms),
        first_failed_at=timestamp(dead_letter.first_failed_at_ms)
        if dead_letter.first_failed_at_ms is not None
        else None,
        replayed=is_replayed(dead_letter, book),
    )


_STATES: Mapping[ReplayState, pb.ReplayState.ValueType] = {
    each: pb.ReplayState.Value(f"REPLAY_STATE_{each.name}") for each in ReplayState
}


def wire_replay(replays: Replays, task: ReplayTask) -> pb.Replay:
    """Return the message of a replay task with its progress."""
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
        provenance=provenance_of(task.provenance, task.revision),
        started_by=task.started_by,
        started_reason=task.started_reason,
    )


def provenance_of(author: Provenance, revision: int) -> pb.Provenance:
    """Return the message of the author of a change."""
    changed_at: Timestamp = timestamp(author.at_ms)
    return pb.Provenance(who=author.who, changed_at=changed_at, reason=author.reason, revision=revision)
