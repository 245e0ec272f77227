"""Dead letters: counts, lists, and one in full."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mpsctl.views.fleet import RecordRef
from mpsctl.views.values import View

Disposition = Literal["attempts-exhausted", "rejected", "expired", "undeliverable", "skipped", "blocked", "unknown"]
"""The values of the header `mps-dlq-disposition` in the delivery contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter(View):
    """A record in the dead-letter topic."""

    source: RecordRef
    """Position of the record in its source topic."""
    dead_letter: RecordRef
    """Position of the record in the dead-letter topic."""
    key: str | None
    """The key as text, cut at 1 KiB; null: no key, or a key that is not UTF-8 (see `key_base64`)."""
    key_base64: str | None
    """The key in base64, cut at 1 KiB; null: no key, or a key that the caller may not see (see `content_hidden`)."""
    disposition: Disposition
    """Kind of reason why the record was dead-lettered, one of the [dispositions](contract.md#dead-letters)."""
    status: int | None
    """HTTP or gRPC status of the last answer, 1 to 599; null: there was no answer."""
    reason: str
    """Reason why the record was dead-lettered, for people to read."""
    attempts: int
    """Number of attempts to deliver the record, 0 or more."""
    replays: int
    """Number of times that the record was replayed, 0 or more."""
    replayed: bool
    """True if a replay has settled this copy: it was delivered, or a newer copy has the reason why it failed again."""
    dead_lettered_at: datetime | None
    """Time at which the record was dead-lettered; null if unknown."""
    first_failed_at: datetime | None
    """Time at which the first delivery failed; null: no delivery failed."""
    content_hidden: bool
    """True if the record has a key that the caller may not see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(View):
    """Dead letters that have a property in common."""

    name: str
    """The common property, such as the reason, for people to read."""
    records: int
    """Number of dead letters in the group, 1 or more."""
    first_at: datetime | None
    """Time at which the first of them was dead-lettered; null if unknown."""
    last_at: datetime | None
    """Time at which the last of them was dead-lettered; null if unknown."""
    sample: DeadLetter
    """One dead letter of the group."""
    replayed_records: int
    """Number of dead letters in the group that a replay has settled, 0 to `records`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(View):
    """Dead letters in groups: `dlq ls`."""

    subscription: str
    """Name of the subscription."""
    groups: tuple[Group, ...]
    """The groups, the largest first, at most `--limit`."""
    other_records: int
    """Number of dead letters in groups beyond `--limit`, 0 or more."""
    incomplete: bool
    """True if the time was up before all dead letters were read, so that the real counts are higher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters(View):
    """Dead letters one by one: `dlq ls --each`."""

    subscription: str
    """Name of the subscription."""
    dead_letters: tuple[DeadLetter, ...]
    """The dead letters, the newest first, at most `--limit`."""
    more: bool
    """True if there are more dead letters than `--limit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header(View):
    """A header of a record."""

    name: str
    """Name of the header."""
    value: str | None
    """The value as text, cut at 1 KiB; null: a null value, or a value that is not UTF-8 (see `value_base64`)."""
    value_base64: str | None
    """The value in base64, cut at 1 KiB; null: a null value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeDeadLetter(View):
    """One dead letter in full: `dlq show`."""

    dead_letter: DeadLetter
    """The dead letter; if the record was dead-lettered several times, the newest copy."""
    headers: tuple[Header, ...]
    """Headers of the record, in order."""
    excerpt: str | None
    """The last answer of the application as text, cut at 1 KiB; null: no answer, or one that is not UTF-8."""
    excerpt_base64: str | None
    """The last answer of the application in base64, cut at 1 KiB; null: no answer."""
    value: str | None
    """With `--values`, the value as text, cut at 64 KiB; null: no value, or a value that is not UTF-8."""
    value_base64: str | None
    """With `--values`, the value in base64, cut at 64 KiB; null: no value."""
    content_hidden: bool
    """True if headers, answer or value were left out, because the caller may not see them."""
