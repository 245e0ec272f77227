"""Dead letters."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from mps.admin.v1 import admin_pb2 as pb
from mpsctl.views.fleet import RecordRef
from mpsctl.views.values import base64_of, optional, text_of, time_of, word

Disposition = Literal["attempts-exhausted", "rejected", "expired", "undeliverable", "skipped", "blocked", "unknown"]
"""In the words of the delivery contract, as the header `mps-dlq-disposition` has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record in the dead-letter topic."""

    source: RecordRef
    """Where it came from."""
    dead_letter: RecordRef
    """Where it is."""
    key: str | None
    """The key, cut at 1 KiB, if it is UTF-8."""
    key_base64: str | None
    """The key, cut at 1 KiB; null: no key."""
    disposition: Disposition
    """Why it is dead, in the words of the delivery contract."""
    status: int | None
    """Status of the last answer; null: there was none."""
    reason: str
    """Why, for people to read."""
    attempts: int
    """Attempts it had."""
    replays: int
    """Times it was replayed."""
    replayed: bool
    """Whether a replay is done with it: it succeeded, or a newer copy says how it failed."""
    dead_lettered_at: datetime | None
    """When it was dead-lettered."""
    first_failed_at: datetime | None
    """When its first delivery failed; null: none did."""
    content_hidden: bool
    """Whether the key was left out, because the caller may not see it."""

    @classmethod
    def of(cls, message: pb.DeadLetter) -> Self:
        key = optional(message, "key")
        return cls(
            source=RecordRef.of(message.source),
            dead_letter=RecordRef.of(message.dead_letter),
            key=text_of(key),
            key_base64=base64_of(key),
            disposition=word(pb.Disposition, message.disposition, hyphens=True),
            status=message.status or None,
            reason=message.reason,
            attempts=message.attempts,
            replays=message.replays,
            replayed=message.replayed,
            dead_lettered_at=time_of(message, "dead_lettered_at"),
            first_failed_at=time_of(message, "first_failed_at"),
            content_hidden=message.content_hidden,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Dead letters that have something in common."""

    name: str
    """What they have in common, for people to read."""
    records: int
    """How many."""
    first_at: datetime | None
    """When the first of them was dead-lettered."""
    last_at: datetime | None
    """When the last of them was."""
    sample: DeadLetter
    """One of them."""
    replayed_records: int
    """How many of them a replay is done with."""

    @classmethod
    def of(cls, message: pb.DeadLetterGroup) -> Self:
        return cls(
            name=message.name,
            records=message.records,
            first_at=time_of(message, "first_at"),
            last_at=time_of(message, "last_at"),
            sample=DeadLetter.of(message.sample),
            replayed_records=message.replayed_records,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Dead letters, grouped and counted: `dlq ls`."""

    subscription: str
    """Whose."""
    groups: tuple[Group, ...]
    """The groups, most frequent first."""
    other_records: int
    """Dead letters in groups beyond `--limit`."""
    incomplete: bool
    """Whether the deadline came first: the counts then are of what was read until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """Dead letters one by one: `dlq ls --each`."""

    subscription: str
    """Whose."""
    dead_letters: tuple[DeadLetter, ...]
    """The dead letters, newest first."""
    more: bool
    """Whether there are more than `--limit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header of a record."""

    name: str
    """Name."""
    value: str | None
    """Value, cut at 1 KiB, if it is UTF-8."""
    value_base64: str | None
    """Value, cut at 1 KiB; null: the value is null."""

    @classmethod
    def of(cls, message: pb.Header) -> Self:
        value = optional(message, "value")
        return cls(name=message.name, value=text_of(value), value_base64=base64_of(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeDeadLetter:
    """One dead letter: `dlq show`."""

    dead_letter: DeadLetter
    """What it is; of several copies the newest."""
    headers: tuple[Header, ...]
    """Its headers, in order."""
    excerpt: str | None
    """What the application answered last, at most 1 KiB, if it is UTF-8."""
    excerpt_base64: str | None
    """The same, whatever it is; null: nothing."""
    value: str | None
    """The record's value, cut at 64 KiB, if it is UTF-8; with `--values`."""
    value_base64: str | None
    """The same, whatever it is."""
    content_hidden: bool
    """Whether headers, excerpt or value were left out, because the caller may not see them."""

    @classmethod
    def of(cls, message: pb.GetDeadLetterResponse) -> Self:
        value, excerpt = optional(message, "value"), message.excerpt or None
        return cls(
            dead_letter=DeadLetter.of(message.dead_letter),
            headers=tuple(map(Header.of, message.headers)),
            excerpt=text_of(excerpt),
            excerpt_base64=base64_of(excerpt),
            content_hidden=message.content_hidden,
            value=text_of(value),
            value_base64=base64_of(value),
        )
