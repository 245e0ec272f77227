"""Replays of dead letters."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mpsctl.views.dead_letters import DeadLetter, Disposition, Group
from mpsctl.views.fleet import Changed, Provenance
from mpsctl.views.values import View

ReplayState = Literal["running", "paused", "done", "cancelled", "failed", "unknown"]
ReplayTarget = Literal["application", "topic", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter(View):
    """A filter of dead letters; a dead letter must meet all conditions."""

    since: datetime | None
    """Dead-lettered at this time or later; null: at any time."""
    until: datetime | None
    """Dead-lettered before this time; null: at any time."""
    dispositions: tuple[Disposition, ...]
    """Dead-lettered with one of these dispositions; empty: with any."""
    statuses: tuple[int, ...]
    """Last answered with one of these HTTP or gRPC statuses; empty: with any, or not at all."""
    reason_contains: str | None
    """The reason contains this text, in upper or lower case; null: any reason."""
    topic: str | None
    """Read from this topic; null: from any."""
    partition: int | None
    """Read from this partition of `topic`; null: from any."""
    key: str | None
    """Has this key, as text; null: any key, or a key that is not UTF-8 (see `key_base64`)."""
    key_base64: str | None
    """Has this key, in base64; null: any key, or a key that the caller may not see (see `content_hidden`)."""
    content_hidden: bool
    """True if the filter has a key that the caller may not see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(View):
    """The settings of a replay."""

    subscription: str
    """Name of the subscription."""
    filter: Filter
    """The dead letters to replay."""
    target: ReplayTarget
    """`application`: the application of the subscription alone; `topic`: the source topic, where every group receives them."""
    rate_max_per_s: float
    """Largest number of records per second, of all daemons together; 0: no limit."""
    records_max: int
    """Largest number of records in all; 0: no limit."""
    again: bool
    """True to replay also dead letters that a replay has settled before."""
    include_quarantined: bool
    """True to replay also dead letters that came back from `dead_letter.replays_max` replays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(View):
    """The preview of a replay: `replay-dlq --dry-run`."""

    plan: Plan
    """The settings of the replay."""
    matched_records: int
    """Number of dead letters that would be replayed, 0 or more."""
    quarantined_records: int
    """Number of dead letters that match but are left out without `--include-quarantined`, 0 or more."""
    replayed_records: int
    """Number of dead letters that match but are left out without `--again`, 0 or more."""
    keys: int
    """Number of different keys among those that would be replayed, 0 or more."""
    largest_key_records: int
    """Number of records of the most frequent key, 0 or more."""
    groups: tuple[Group, ...]
    """The dead letters that would be replayed, grouped by reason."""
    samples: tuple[DeadLetter, ...]
    """At most ten of the dead letters that would be replayed."""
    takes_s: float | None
    """Estimated length of the replay in seconds; null: the replay has no `--rate`."""
    incomplete: bool
    """True if the time was up before all dead letters were read, so that the real counts are higher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay(View):
    """A replay and its progress: `replay-dlq`, `replay show`, `replay pause`, `replay resume`, `replay cancel`."""

    id: str
    """Id of the replay, which its records carry as `Mps-Replay`."""
    plan: Plan
    """The settings of the replay."""
    state: ReplayState
    """`failed`: it cannot go on, and `state_reason` says why; `done`: all records are settled."""
    state_reason: str
    """Reason for the state, for people to read; empty when running or done."""
    matched_records: int
    """Number of dead letters found so far that match, 0 or more."""
    sent_records: int
    """Number of matching dead letters that were sent, 0 or more."""
    succeeded_records: int
    """Number of sent records that the application accepted, 0 or more."""
    failed_records: int
    """Number of sent records that were dead-lettered again, 0 or more."""
    expired_records: int
    """Number of dead letters that Kafka deleted from the topic before they were read, 0 or more."""
    left_records: int
    """Number of records of the dead-letter topic that are still to be looked at, 0 or more."""
    sent_per_s: float
    """Records sent per second, mean of the last 10 s."""
    left_s: float | None
    """Estimated time to the end in seconds, at the present rate; null if unknown."""
    started_at: datetime | None
    """Time at which the replay was started."""
    ended_at: datetime | None
    """Time at which the replay ended; null: it has not ended."""
    provenance: Provenance
    """Author, time and reason of the last change; the author is `mpsd` if a daemon found the replay done or failed."""
    started_by: str
    """Name of the token or certificate that started the replay; empty if unknown."""
    started_reason: str
    """Reason given at the start."""
    changed: Changed | None = None
    """The result of the change, for a command that starts or changes the replay; null for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays(View):
    """Replays: `replay ls`."""

    replays: tuple[Replay, ...]
    """The replays, the newest first, at most `--limit`."""
    more: bool
    """True if there are more replays than `--limit`."""
