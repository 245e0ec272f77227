"""The ports of the control plane: the log of operators' decisions, their history, and the state they add up to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from mpsd.core.audit import AuditEntry
from mpsd.core.control import Entity, EntityKey, Provenance, Request, headers_of, key_bytes, value_bytes

Items = Sequence[tuple[EntityKey, Mapping[str, Any] | None]]
"""Entities and what is to be remembered of them; None: they are gone."""
Listener = Callable[[EntityKey, Entity | None], None]
"""Takes an entity that has changed, None if it was removed."""


class ControlRecord(NamedTuple):
    """A record for the control or the audit topic."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def control_record(key: EntityKey, document: Mapping[str, Any] | None, provenance: Provenance) -> ControlRecord:
    """Return the record that sets an entity; a document of None removes it."""
    value = None if document is None else value_bytes(document)
    return ControlRecord(key_bytes(key), value, headers_of(provenance))


class ControlListener(Protocol):
    """The events of a control log; synchronous, called in the loop's thread, may not block."""

    def on_record(
        self,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        timestamp_ms: int,
    ) -> None:
        """Take the next record, of whatever group."""

    def on_recreated(self) -> None:
        """Forget the state: the topic was recreated, so its offsets start again and the old records are gone."""


class ControlLog(Protocol):
    """The control topic, read from its first record to its end, then followed."""

    @property
    def position(self) -> int:
        """The offset behind the last record handed on; -1 before the first contact."""

    async def start(self, listener: ControlListener) -> None:
        """Begin to read; return at once. `waiting_for` reports the progress."""

    async def read_to_end(self) -> int:
        """Wait until every record that is in the log now has been handed on; return the position.

        Raises:
            ControlUnavailable: not within a bound.
        """

    async def write(self, items: Sequence[ControlRecord]) -> int:
        """Append in order, acknowledged by all in-sync replicas; return the offset of the last.

        Raises:
            ControlUnavailable: the records may be written or not.
        """

    def waiting_for(self) -> str:
        """Return for people why the log cannot be read now; empty while it is followed."""

    async def close(self) -> None: ...


class AuditPage(NamedTuple):
    """Audit entries, newest first.

    Attributes:
        before: end of the next page; None if there is nothing older.
    """

    entries: Sequence[AuditEntry]
    before: int | None


class AuditLog(Protocol):
    """The history of changes."""

    async def append(self, entry: AuditEntry) -> None:
        """Write an entry, acknowledged by all in-sync replicas.

        Raises:
            ControlUnavailable: the entry may be written or not.
        """

    async def page(self, before: int | None, entries_max: int, subscription: str, since_ms: int) -> AuditPage:
        """Return entries below an offset, newest first; a page may be short, or empty, and yet not be the last.

        Args:
            before: None: from the end.
            subscription: entries of this one only; empty: of all.
            since_ms: entries at this time or later, milliseconds since the epoch.

        Raises:
            ControlUnavailable: the entries cannot be read now.
        """

    async def close(self) -> None: ...


class Control(Protocol):
    """The decisions in effect, as a pipeline follows them."""

    @property
    def is_on(self) -> bool:
        """Return True if there is a control topic."""

    @property
    def revision(self) -> int:
        """Return the offset of the last control record that was applied; -1: none."""

    def waiting_for(self) -> str:
        """Return for people why the control topic cannot be read now; empty if it can."""

    async def must_read_to_end(self) -> None:
        """Apply all that is in the control topic at the time of the call, however long it takes."""

    async def record(self, items: Items) -> int:
        """Write what the daemon itself has to remember, acknowledged; return the offset of the last.

        Raises:
            ControlUnavailable: it may be written or not.
            ControlOff: there is no control topic.
        """

    def listen(self, kind: str, listener: Listener) -> None:
        """Call the listener whenever an entity of the kind changes, in the step in which the change is applied."""

    def listen_recreated(self, listener: Callable[[], None]) -> None:
        """Call the listener when the control topic was recreated."""


class ControlChanges(Protocol):
    """The decisions of operators in effect, and the way to change them."""

    @property
    def revision(self) -> int: ...

    @property
    def history(self) -> AuditLog | None: ...

    def waiting_for(self) -> str: ...

    async def is_set(self, key: EntityKey, request_id: str) -> bool:
        """Return True if there is a decision to take back, or if this request has already taken it back."""

    def request(self, request_id: str) -> Request | None:
        """Return what was done for a request id within the last 24 hours, as far as this daemon has read."""

    async def read_to_end(self) -> int:
        """Wait until every decision made before the call is known here; return the revision.

        Raises:
            ControlUnavailable: the control topic cannot be read now.
        """

    async def change(
        self,
        key: EntityKey,
        document: Mapping[str, Any] | None,
        *,
        who: str,
        reason: str,
        request_id: str,
        expected_revision: int | None = None,
        method: str,
        description: str,
        subscription: str = "",
    ) -> int:
        """Decide something for the fleet; return its revision once it is durable and applied here."""

    async def audit(self, entry: AuditEntry) -> None:
        """Log a change and append it to the history."""
