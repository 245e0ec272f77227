"""Pauses: what operators stopped, and what that means for a partition.

subscription                  nothing of it is delivered
… and topic [and partition]   nothing of that
… [topic [partition]] and key its lane waits, in whatever is named; the others go on
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from mpsd.core.control import Entity, EntityKey, Provenance, bytes_of, text_of
from mpsd.core.record import TopicPartition

KIND = "pause"


class Scope(NamedTuple):
    """What is stopped: all of a subscription, or the part that is named.

    Attributes:
        partition: only together with `topic`.
        key: of records; empty is a key, None is none named.
    """

    subscription: str
    topic: str | None = None
    partition: int | None = None
    key: bytes | None = None

    def covers(self, tp: TopicPartition) -> bool:
        """Whether the partition lies in it."""
        return self.topic in {None, tp.topic} and self.partition in {None, tp.partition}

    def entity_key(self, group: str) -> EntityKey:
        partition = "" if self.partition is None else str(self.partition)
        return (group, KIND, self.subscription, self.topic or "", partition, text_of(self.key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A scope that is stopped.

    Attributes:
        until_ms: when it ends by itself, milliseconds since the epoch; None: never.
        revision: offset of its control record.
    """

    scope: Scope
    until_ms: int | None
    revision: int
    provenance: Provenance

    def holds(self, now_ms: int) -> bool:
        return self.until_ms is None or now_ms < self.until_ms


class Stopped(NamedTuple):
    """What pauses mean for a partition.

    Attributes:
        whole: nothing of it is delivered.
        keys: nothing of these keys is.
    """

    whole: bool
    keys: frozenset[bytes]


def document(until_ms: int | None) -> dict[str, Any]:
    """What the control record of a pause says beside its key."""
    return {"until_ms": until_ms}


def parse(key: EntityKey, entity: Entity) -> Pause | None:
    """The pause that an entity is; None where it says something else, as a foreign record may."""
    try:
        _, _, subscription, topic, partition, text = key
        scope = Scope(subscription, topic or None, int(partition) if partition else None, bytes_of(text))
    except ValueError:
        return None
    until_ms = entity.document.get("until_ms")
    if (until_ms is not None and type(until_ms) is not int) or (scope.partition is not None and scope.topic is None):
        return None
    return Pause(scope=scope, until_ms=until_ms, revision=entity.revision, provenance=entity.provenance)


def stopped(pauses: Iterable[Pause], tp: TopicPartition, now_ms: int) -> Stopped:
    """What pauses of its subscription mean for a partition now."""
    scopes = [pause.scope for pause in pauses if pause.holds(now_ms) and pause.scope.covers(tp)]
    keys = frozenset(scope.key for scope in scopes if scope.key is not None)
    return Stopped(any(scope.key is None for scope in scopes), keys)


def next_end_ms(pauses: Collection[Pause], now_ms: int) -> int | None:
    """When the first of those that hold ends by itself; None: none will."""
    return min((p.until_ms for p in pauses if p.until_ms is not None and p.holds(now_ms)), default=None)
