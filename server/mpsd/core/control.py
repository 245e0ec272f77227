"""Control state: what operators decided, as the records of the control topic say it, last record wins.

    key      JSON array, compact: group, kind, and what tells entities of the kind apart; all of it text
    value    JSON object {"version": 1, …}; null: the entity is gone
    headers  who, when, why, by which request and through which instance; a removal has them too

An entity's revision is the offset of its record. Records of groups that are not this daemon's are passed over; what
cannot be read, or is of a later version, is ignored and counted, and what was known before stays: see
`docs/decisions/control-topic.md`.
"""

import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar, cast

from typing_extensions import override

from mpsd.core.codec import Unfit, decode_fields, decode_part, encode, encode_part, hints

K = TypeVar("K", bound=tuple[Any, ...])
V = TypeVar("V")

VERSION = 1
IGNORED = UNREADABLE_KEY, UNREADABLE_VALUE, OTHER_VERSION, TOO_MANY = (
    "unreadable-key",
    "unreadable-value",
    "other-version",
    "too-many",
)
"""Reasons for which a record is ignored."""
ENTITIES_MAX = 200_000
"""Most entities of this daemon's groups; above what `blocked_keys_max` of some subscriptions allow, and 200 MiB at 1 KiB each."""
REQUESTS_MAX = 10_000
"""Request ids that are remembered: one every ten seconds for a day."""
REQUEST_AGE_MAX_MS = 24 * 3_600_000
"""Time for which a request id stands for its change."""

SHOWN_CHARS_MAX = 1_024
"""Longest part of a document in an error: it travels in the trailer of a call, which has room for 8 KiB."""

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


NOBODY = Provenance("", "", 0, "", "")


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

    def values(self, kind: "Kind[K, V]", group: str) -> dict[K, V]:
        """Return the values of a kind by key, without those that cannot be read."""
        found = {}
        for entity_key, entity in self.of_kind(group, kind.name).items():
            key, value = kind.key_of(entity_key), kind.parse(entity_key, entity)
            if key is not None and value is not None:
                found[key] = value
        return found

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[K, V]):
    """A sort of entity: the declaration that its keys and documents are written and read by.

    Attributes:
        name: second part of the key, behind the group.
        key: the other parts of the key, a NamedTuple.
        value: the document, a dataclass; None for an event: nothing of one stays in the topic, and the key tells all that a
            repeated request is answered with. Fields that the record has beside the document (the group, fields of the
            key, revision and provenance) are not in the document.
        key_name: the field of the value that has the whole key.
        fits: a check of what annotations cannot say.
    """

    name: str
    key: type[K]
    value: type[V]
    key_name: str = "key"
    fits: Callable[[V], bool] = lambda _: True

    def entity_key(self, group: str, key: K) -> EntityKey:
        """Return the key of an entity."""
        return (group, self.name, *map(encode_part, key))

    def key_of(self, entity_key: EntityKey) -> K | None:
        """Return the typed parts of a key; None for a key of another kind or form."""
        types = list(hints(self.key).values())
        if entity_key[1] != self.name or len(entity_key) != len(types) + 2:
            return None
        try:
            return self.key(*map(decode_part, types, entity_key[2:]))
        except Unfit:
            return None

    def document(self, value: V) -> dict[str, Any]:
        """Return the document of a value."""
        outside = {"group", "revision", "provenance", self.key_name, *hints(self.key)}
        return {name: encode(getattr(value, name)) for name in hints(cast("Any", self.value)) if name not in outside}

    def parse(self, entity_key: EntityKey, entity: Entity) -> V | None:
        """Return the value of an entity; None for one of another form, which a foreign record may have."""
        key = self.key_of(entity_key)
        if key is None:
            return None
        names = hints(cast("Any", self.value))
        outside = {
            "group": entity_key[0],
            "revision": entity.revision,
            "provenance": entity.provenance,
            self.key_name: key,
            **dict(zip(hints(self.key), key, strict=True)),
        }
        try:
            known = {name: value for name, value in outside.items() if name in names}
            value: V = decode_fields(self.value, entity.document, known)
        except Unfit:
            return None
        return value if self.fits(value) else None


class OfSubscription(NamedTuple):
    """The key of a kind of which a subscription has one entity."""

    subscription: str


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
