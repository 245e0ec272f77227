"""Replays of dead letters."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from mps.admin.v1 import admin_pb2 as pb
from mpsctl.views.dead_letters import DeadLetter, Disposition, Group
from mpsctl.views.fleet import Changed, Provenance
from mpsctl.views.values import base64_of, optional, seconds_of, text_of, time_of, word

ReplayState = Literal["running", "paused", "done", "cancelled", "failed", "unknown"]
ReplayTarget = Literal["application", "topic", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A filter of dead letters: all its conditions hold."""

    since: datetime | None
    """Dead-lettered at this time or later."""
    until: datetime | None
    """Dead-lettered before this time."""
    dispositions: tuple[Disposition, ...]
    """Dead for one of these; empty: for whatever."""
    statuses: tuple[int, ...]
    """Last answered with one of these; empty: with whatever."""
    reason_contains: str | None
    """The reason has this text in it."""
    topic: str | None
    """Read from this topic."""
    partition: int | None
    """Read from this partition."""
    key: str | None
    """Of this key, if it is UTF-8."""
    key_base64: str | None
    """Of this key, whatever it is."""
    content_hidden: bool
    """Whether the key was left out, because the caller may not see it."""

    @classmethod
    def of(cls, message: pb.DeadLetterFilter) -> Self:
        key = optional(message, "key")
        return cls(
            since=time_of(message, "since"),
            until=time_of(message, "until"),
            dispositions=tuple(word(pb.Disposition, each, hyphens=True) for each in message.dispositions),
            statuses=tuple(message.statuses),
            reason_contains=message.reason_contains or None,
            topic=message.topic or None,
            partition=optional(message, "partition"),
            key=text_of(key),
            key_base64=base64_of(key),
            content_hidden=message.content_hidden,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The dead letters that are replayed, and the way of the replay."""

    subscription: str
    """Whose dead letters."""
    filter: Filter
    """Which of them."""
    target: ReplayTarget
    """Where to."""
    rate_max_per_s: float
    """Records in each second, a total of the fleet; 0: no limit."""
    records_max: int
    """Records in all; 0: no limit."""
    again: bool
    """Also those that were replayed with success before."""
    include_quarantined: bool
    """Also those that came back too often."""

    @classmethod
    def of(cls, message: pb.ReplayPlan) -> Self:
        target = message.target or pb.REPLAY_TARGET_APPLICATION
        return cls(
            subscription=message.subscription,
            filter=Filter.of(message.filter),
            target=word(pb.ReplayTarget, target),
            rate_max_per_s=message.rate_max_per_s,
            records_max=message.records_max,
            again=message.again,
            include_quarantined=message.include_quarantined,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The preview of a replay: `replay-dlq --dry-run`."""

    plan: Plan
    """What would be replayed, and how."""
    matched_records: int
    """Dead letters it would replay."""
    quarantined_records: int
    """Dead letters that match, but are quarantined."""
    replayed_records: int
    """Dead letters that match, but were replayed before."""
    keys: int
    """Different keys among those it would replay."""
    largest_key_records: int
    """Records of the most frequent key."""
    groups: tuple[Group, ...]
    """By reason."""
    samples: tuple[DeadLetter, ...]
    """At most ten of them."""
    takes_s: float | None
    """How long it would take at the rate; null: without a rate nobody knows."""
    incomplete: bool
    """Whether the deadline came first: the counts then are of what was read until then."""

    @classmethod
    def of(cls, message: pb.PreviewReplayResponse, plan: pb.ReplayPlan) -> Self:
        return cls(
            plan=Plan.of(plan),
            matched_records=message.matched_records,
            quarantined_records=message.quarantined_records,
            replayed_records=message.replayed_records,
            keys=message.keys,
            largest_key_records=message.largest_key_records,
            groups=tuple(map(Group.of, message.groups)),
            samples=tuple(map(DeadLetter.of, message.samples)),
            takes_s=seconds_of(message, "takes"),
            incomplete=message.incomplete,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A replay and its progress: `replay-dlq`, `replay show`, and what changes one."""

    id: str
    """Its id, which its records carry as `Mps-Replay`."""
    plan: Plan
    """What it replays, and how."""
    state: ReplayState
    """What it does."""
    state_reason: str
    """Why, for people to read; empty when running or done."""
    matched_records: int
    """Dead letters that matched so far."""
    sent_records: int
    """Of those, sent."""
    succeeded_records: int
    """Of those, accepted."""
    failed_records: int
    """Of those, dead again."""
    expired_records: int
    """Dead letters that the topic lost before they were read."""
    left_records: int
    """Records of the dead-letter topic still to be looked at."""
    sent_per_s: float
    """Records sent in each second, mean of the last 10 s."""
    left_s: float | None
    """How long it will take, as it goes now; null: nobody knows."""
    started_at: datetime | None
    """When it was started."""
    ended_at: datetime | None
    """When it ended; null: it has not."""
    provenance: Provenance
    """Whose the last change of it is; `mpsd` where a daemon has found it done or failed."""
    started_by: str
    """Who started it; empty: the daemon does not say."""
    started_reason: str
    """Why, in the words of who started it."""
    changed: Changed | None = None
    """What became of the change, of what has just started or changed it; null: nothing was changed."""

    @classmethod
    def of(cls, message: pb.Replay, changed: Changed | None = None) -> Self:
        return cls(
            id=message.id,
            plan=Plan.of(message.plan),
            state=word(pb.ReplayState, message.state),
            state_reason=message.state_reason,
            matched_records=message.matched_records,
            sent_records=message.sent_records,
            succeeded_records=message.succeeded_records,
            failed_records=message.failed_records,
            expired_records=message.expired_records,
            left_records=message.left_records,
            sent_per_s=message.sent_per_s,
            left_s=seconds_of(message, "left"),
            started_at=time_of(message, "started_at"),
            ended_at=time_of(message, "ended_at"),
            provenance=Provenance.of(message.provenance),
            started_by=message.started_by,
            started_reason=message.started_reason,
            changed=changed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """Replays: `replay ls`."""

    replays: tuple[Replay, ...]
    """The replays, newest first."""
    more: bool
    """Whether there are more than `--limit`."""
