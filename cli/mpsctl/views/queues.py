"""The records in the queues, and skipped records."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from mps.admin.v1 import admin_pb2 as pb
from mpsctl.views.fleet import Instance, RecordRef
from mpsctl.views.status import Partition
from mpsctl.views.values import UNKNOWN, Severity, base64_of, optional, text_of, time_of, word


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The records of one key of one partition."""

    head: RecordRef
    """Its first record."""
    key: str | None
    """The key, cut at 1 KiB, if it is UTF-8."""
    key_base64: str | None
    """The key, cut at 1 KiB; null: no key."""
    records: int
    """Records in it."""
    state: str
    """One of the [states](states.md#of-a-keys-first-record): that of its first record."""
    severity: Severity
    """How bad that is."""
    until: datetime | None
    """Until when; null: nobody knows."""
    attempts: int
    """Counted attempts of the first record."""
    last_outcome: str
    """How the last of them ended, for people to read."""
    read_at: datetime | None
    """When the first record was read."""
    blocks_commit: bool
    """Whether it holds up the committed offset."""
    value: str | None
    """The first record's value, cut at 1 KiB, if it is UTF-8; with `--values`."""
    value_base64: str | None
    """The same, whatever it is."""
    content_hidden: bool
    """Whether key or value was left out, because the caller may not see it."""

    @classmethod
    def of(cls, message: pb.Lane) -> Self:
        key, value = optional(message, "key"), optional(message, "value")
        return cls(
            head=RecordRef.of(message.head),
            key=text_of(key),
            key_base64=base64_of(key),
            records=message.records,
            state=message.state or UNKNOWN,
            severity=word(pb.Severity, message.severity),
            until=time_of(message, "until"),
            attempts=message.attempts,
            last_outcome=message.last_outcome,
            read_at=time_of(message, "read_at"),
            blocks_commit=message.blocks_commit,
            value=text_of(value),
            value_base64=base64_of(value),
            content_hidden=message.content_hidden,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """The records in the queues now: `inspect`."""

    lanes: tuple[Lane, ...]
    """Lanes, those with the oldest records first."""
    more: bool
    """Whether there are more lanes than `--limit`."""
    partitions: tuple[Partition, ...]
    """The partitions they are of."""
    instances: tuple[Instance, ...]
    """The daemons, and whether they answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A record that was skipped: `skip`."""

    request_id: str
    """The id that this change went by."""
    record: RecordRef
    """The record."""
    dead_letter: RecordRef
    """Where it is now, in the dead-letter topic."""
    replay_id: str
    """It was dead already and blocked its key: the replay that delivers the rest of the key; else empty."""
    blocked_records: int | None
    """How many records of the key were blocked behind it; null: nobody counted."""
