"""The edges of the control plane: the log of what is decided, and the history of who decided it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from mpsd.core.audit import AuditEntry
from mpsd.core.control import EntityKey, Provenance, headers_of, key_bytes, value_bytes


class ControlRecord(NamedTuple):
    """A record for the control or the audit topic."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def control_record(key: EntityKey, document: Mapping[str, Any] | None, provenance: Provenance) -> ControlRecord:
    """Says what an entity is from now on; None: it is gone."""
    value = None if document is None else value_bytes(document)
    return ControlRecord(key_bytes(key), value, headers_of(provenance))


class ControlListener(Protocol):
    """What a control log tells; synchronous, called in the loop's thread, may not block."""

    def on_record(
        self,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        timestamp_ms: int,
    ) -> None:
        """The next record, whosever it is."""

    def on_recreated(self) -> None:
        """The topic is another one than before: offsets begin anew, and what the old one said is not in it."""


class ControlLog(Protocol):
    """The control topic: everything in it is read from the beginning, then as it comes."""

    @property
    def position(self) -> int:
        """Offset behind the last record handed on; -1 before the first contact."""

    async def start(self, listener: ControlListener) -> None:
        """Begin to read; returns at once, `waiting_for` tells how far it is."""

    async def read_to_end(self) -> int:
        """Wait until all that is in the log at the time of the call has been handed on; returns the position.

        Raises:
            ControlUnavailable: not within a bound.
        """

    async def write(self, items: Sequence[ControlRecord]) -> int:
        """Append, in order, acknowledged by all in-sync replicas; returns the offset of the last.

        Raises:
            ControlUnavailable: it may be written or not.
        """

    def waiting_for(self) -> str:
        """Why it cannot be read now, in words; empty while it is followed."""

    async def close(self) -> None: ...


class AuditPage(NamedTuple):
    """Entries, newest first.

    Attributes:
        before: where the next page ends; None: there is nothing older.
    """

    entries: Sequence[AuditEntry]
    before: int | None


class AuditLog(Protocol):
    """The history of changes."""

    async def append(self, entry: AuditEntry) -> None:
        """Write it, acknowledged by all in-sync replicas.

        Raises:
            ControlUnavailable: it may be written or not.
        """

    async def page(self, before: int | None, entries_max: int, subscription: str, since_ms: int) -> AuditPage:
        """Entries below an offset, newest first; a page may be short, or empty, and yet not be the last.

        Args:
            before: None: from the end.
            subscription: only of this one; empty: of all.
            since_ms: only at this time or later, milliseconds since the epoch.

        Raises:
            ControlUnavailable: they cannot be read now.
        """

    async def close(self) -> None: ...
