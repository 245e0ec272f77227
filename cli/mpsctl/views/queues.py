"""The records in the queues, and skipped records."""

from dataclasses import dataclass
from datetime import datetime

from mpsctl.views.fleet import Instance, RecordRef
from mpsctl.views.status import Partition
from mpsctl.views.values import Severity, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane(View):
    """The unsettled records of one key in one partition."""

    head: RecordRef
    """Position of the first record."""
    key: str | None
    """The key as text, cut at 1 KiB; null: no key, or a key that is not UTF-8 (see `key_base64`)."""
    key_base64: str | None
    """The key in base64, cut at 1 KiB; null: no key, or a key that the caller may not see (see `content_hidden`)."""
    records: int
    """Number of records in the lane, 1 or more."""
    state: str
    """State of the first record, one of the [states of a key's first record](states.md#of-a-keys-first-record)."""
    severity: Severity
    """Severity of the state."""
    until: datetime | None
    """Time at which the state ends, such as the time of the next attempt; null if unknown."""
    attempts: int
    """Number of attempts that failed and were counted for the first record, 0 or more."""
    last_outcome: str
    """Result of the last attempt, for people to read; empty if there was none."""
    read_at: datetime | None
    """Time at which the first record was read from Kafka."""
    blocks_commit: bool
    """True if the committed offset cannot pass the first record."""
    value: str | None
    """With `--values`, the value of the first record as text, cut at 1 KiB; null: no value, or one that is not UTF-8."""
    value_base64: str | None
    """With `--values`, the value of the first record in base64, cut at 1 KiB; null: no value."""
    content_hidden: bool
    """True if key or value were left out, because the caller may not see them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues(View):
    """The records that are read and not settled: `inspect`."""

    lanes: tuple[Lane, ...]
    """The lanes, those with the oldest records first, at most `--limit`."""
    more: bool
    """True if there are more lanes than `--limit`."""
    partitions: tuple[Partition, ...]
    """The partitions that were inspected."""
    instances: tuple[Instance, ...]
    """All daemons; `answered` tells which ones were asked with success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped(View):
    """A record that was sent to the dead-letter topic: `skip`."""

    request_id: str
    """Id of the request; a repeated request with the same id changes nothing."""
    record: RecordRef
    """Position of the record in its source topic."""
    dead_letter: RecordRef
    """Position of the record in the dead-letter topic."""
    replay_id: str
    """For a dead letter that blocked its key: id of the replay that delivers the records behind it and releases the key;
    else empty."""
    blocked_records: int | None
    """Number of records that were blocked behind it, 0 or more; null: there is no replay, or they were not counted."""
