"""Control state: what operators decided, as the records of the control topic say it, last record wins.

    key      JSON array, compact: group, kind, and what tells entities of the kind apart; all of it text
    value    JSON object {"version": 1, …}; null: the entity is gone
    headers  who, when, why, by which request and through which instance; a removal has them too

An entity's revision is the offset of its record. Records of groups that are not this daemon's are passed over; what
cannot be read, or is of a later version, is ignored and counted, and what was known before stays: see
`docs/decisions/control-topic.md`.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from typing_extensions import override

VERSION = 1
IGNORED = UNREADABLE_KEY, UNREADABLE_VALUE, OTHER_VERSION, TOO_MANY = (
    "unreadable-key",
    "unreadable-value",
    "other-version",
    "too-many",
)
"""Why a record is ignored."""
ENTITIES_MAX = 200_000
"""Of this daemon's groups; above what `blocked_keys_max` of some subscriptions allow, and 200 MiB at 1 KiB each."""
REQUESTS_MAX = 10_000
"""Request ids that are remembered: one every ten seconds for a day."""
REQUEST_AGE_MAX_MS = 24 * 3_600_000
"""How long a request id stands for its change."""

SHOWN_CHARS_MAX = 1_024
"""Of a document, in an error: it travels in the trailer of a call, which has room for 8 KiB."""

EntityKey = tuple[str, ...]
"""Group, kind, and what tells entities of the kind apart."""
Headers = Sequence[tuple[str, bytes | None]]


class Provenance(NamedTuple):
    """The author of a change. Times are milliseconds since the epoch; a missing field is empty or 0."""

    who: str
    reason: str
    at_ms: int
    request_id: str
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A decision of an operator, or of the daemon.

    Attributes:
        document: what was decided, without the version.
        revision: offset of its record.
    """

    document: Mapping[str, Any]
    revision: int
    provenance: Provenance


class Request(NamedTuple):
    """The change that a request id stands for."""

    key: EntityKey
    revision: int
    at_ms: int


class ControlState:
    """The entities of some groups, as the control topic has them.

    Takes: its records, in offset order.
    Gives: entities by key; the revision of a request.
    Holds at most: `entities_max` entities, `requests_max` requests of the last 24 hours of the log.

    Attributes:
        revision: offset of the last record seen, -1 before the first; records of others count.
        ignored: records passed over, by reason.
    """

    def __init__(
        self, groups: Collection[str], entities_max: int = ENTITIES_MAX, requests_max: int = REQUESTS_MAX
    ) -> None:
        self._groups = frozenset(groups)
        self._entities_max = entities_max
        self._requests_max = requests_max
        self._kinds: dict[tuple[str, str], dict[EntityKey, Entity]] = {}
        self._count = 0
        self._requests: OrderedDict[str, Request] = OrderedDict()
        self.revision = -1
        self.ignored: Counter[str] = Counter()

    def apply(
        self, offset: int, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int
    ) -> EntityKey | None:
        """Apply a record; return the entity that it changed, None if none."""
        self.revision = max(self.revision, offset)
        entity_key = parse_key(key)
        if entity_key is None:
            self.ignored[UNREADABLE_KEY] += 1
            return None
        if entity_key[0] not in self._groups:
            return None
        document = None if value is None else _document(value)
        if isinstance(document, str):
            self.ignored[document] += 1
            return None
        provenance = _provenance(headers, timestamp_ms)
        entities = self._kinds.setdefault((entity_key[0], entity_key[1]), {})
        if document is None:
            self._count -= entities.pop(entity_key, None) is not None
        elif entity_key not in entities and self._count >= self._entities_max:
            self.ignored[TOO_MANY] += 1
            return None
        else:
            self._count += entity_key not in entities
            entities[entity_key] = Entity(document=document, revision=offset, provenance=provenance)
        self._remember(entity_key, offset, provenance.request_id, timestamp_ms)
        return entity_key

    def begin_anew(self) -> dict[EntityKey, Entity]:
        """Start with a recreated topic; return the known entities, which hold until they are replaced."""
        self._requests.clear()
        self.revision = -1
        return {key: entity for kind in self._kinds.values() for key, entity in kind.items()}

    def get(self, key: EntityKey) -> Entity | None:
        return self._kinds.get((key[0], key[1]), {}).get(key)

    def of_kind(self, group: str, kind: str) -> Mapping[EntityKey, Entity]:
        """Return all entities of a group and kind, as a live view."""
        return MappingProxyType(self._kinds.get((group, kind), {}))

    def request(self, request_id: str) -> Request | None:
        """Return the change that was made for a request id within the last 24 hours of the log."""
        return self._requests.get(request_id)

    def _remember(self, key: EntityKey, offset: int, request_id: str, at_ms: int) -> None:
        requests = self._requests
        if request_id and request_id not in requests:
            requests[request_id] = Request(key, offset, at_ms)
        while requests:
            oldest = next(iter(requests.values()))
            if len(requests) <= self._requests_max and at_ms - oldest.at_ms <= REQUEST_AGE_MAX_MS:
                break
            requests.popitem(last=False)

    @override
    def __repr__(self) -> str:
        return f"<ControlState revision={self.revision} entities={self._count} ignored={self.ignored.total()}>"


def key_bytes(key: EntityKey) -> bytes:
    """Return the record key of an entity, in one form only, because compaction compares bytes."""
    return json.dumps(key, ensure_ascii=False, separators=(",", ":")).encode()


def parse_key(data: bytes | None) -> EntityKey | None:
    """Return the entity of a record key; None for a key of any other form."""
    try:
        found = json.loads(data or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or len(found) < 2 or not all(isinstance(part, str) for part in found):
        return None
    key = tuple(found)
    try:
        return key if key_bytes(key) == data else None
    except UnicodeEncodeError:
        return None


def value_bytes(document: Mapping[str, Any]) -> bytes:
    """Return the record value of a document."""
    return json.dumps({"version": VERSION, **document}, ensure_ascii=False, separators=(",", ":")).encode()


def headers_of(provenance: Provenance) -> list[tuple[str, bytes]]:
    """Return the record headers that name the author of a change."""
    who, reason, at_ms, request_id, instance = provenance
    named = {"request-id": request_id, "who": who, "reason": reason, "at-ms": str(at_ms), "instance": instance}
    return [(f"mps-{name}", value.encode("utf-8", "replace")) for name, value in named.items()]


def described(entity: Entity | None) -> dict[str, str]:
    """Return an entity's state and author as error details, for a caller who expected another state; empty without an entity."""
    if entity is None:
        return {}
    who, reason, at_ms, *_ = entity.provenance
    shown = json.dumps(entity.document, ensure_ascii=False, separators=(",", ":"))
    state = {"state": shown} if len(shown) <= SHOWN_CHARS_MAX else {}
    return {"who": who, "reason": reason[:SHOWN_CHARS_MAX], "changed_at_ms": str(at_ms), **state}


def text_of(data: bytes | None) -> str:
    """Return bytes as a part of a key; empty for None, which is not the empty key."""
    return "" if data is None else "=" + urlsafe_b64encode(data).decode()


def bytes_of(text: str) -> bytes | None:
    """Return the bytes that `text_of` was given.

    Raises:
        ValueError: it was given nothing like it.
    """
    if not text:
        return None
    data = urlsafe_b64decode(text[1:])
    if text_of(data) != text:
        raise ValueError("not the text of a key")
    return data


def _document(value: bytes) -> Mapping[str, Any] | str:
    """Return the document of a value, or the reason to ignore the record."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return UNREADABLE_VALUE
    if not isinstance(found, dict) or type(version := found.pop("version", None)) is not int:
        return UNREADABLE_VALUE
    return found if version == VERSION else OTHER_VERSION


def _provenance(headers: Headers, timestamp_ms: int) -> Provenance:
    said = {name: (value or b"").decode("utf-8", "replace") for name, value in headers}
    at_ms = said.get("mps-at-ms", "")
    return Provenance(
        who=said.get("mps-who", ""),
        reason=said.get("mps-reason", ""),
        at_ms=int(at_ms) if at_ms.isascii() and at_ms.isdigit() and len(at_ms) < 16 else timestamp_ms,
        request_id=said.get("mps-request-id", ""),
        instance=said.get("mps-instance", ""),
    )
