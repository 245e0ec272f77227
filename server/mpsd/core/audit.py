"""The history of changes: one record each in a topic of its own, as the control topic keeps only what holds now."""

import json
from typing import Any, NamedTuple

from mpsd.core.control import Provenance

VERSION = 1


class AuditEntry(NamedTuple):
    """A change that was made.

    Attributes:
        revision: offset of its control record; -1 where it has none, as a skipped record.
        method: of the admin service, such as Pause.
        description: what was changed and how, for people.
    """

    provenance: Provenance
    revision: int
    method: str
    group: str
    subscription: str
    description: str


def audit_value(entry: AuditEntry) -> bytes:
    """Return the record value of an entry."""
    fields = entry._asdict() | {"provenance": entry.provenance._asdict()}
    return json.dumps({"version": VERSION, **fields}, ensure_ascii=False, separators=(",", ":")).encode()


def parse_audit(value: bytes | None) -> AuditEntry | None:
    """Parse the entry of a record; None for a record of another program or version."""
    try:
        found = json.loads(value or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.pop("version", None) != VERSION:
        return None
    provenance = _typed(Provenance, found.pop("provenance", None))
    entry: AuditEntry | None = provenance and _typed(AuditEntry, {**found, "provenance": provenance})
    return entry


def _typed(kind: Any, found: Any) -> Any:
    """Return an instance of a NamedTuple whose fields all have their annotated types; else None."""
    wanted = kind.__annotations__
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        return None
    return kind(**found) if all(type(found[name]) is wanted[name] for name in wanted) else None
