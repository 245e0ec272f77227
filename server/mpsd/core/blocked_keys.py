"""Blocked keys: nothing of such a key is delivered, because one of its records is in the dead-letter topic.

    key      group, "blocked", subscription, topic, partition, key
    value    {"epoch", "offset", "dead_letter_partition", "dead_letter_offset"}

Only the owner of the partition writes and removes an entry. `offset` names the record that died; its dead letter is at
`dead_letter_offset` of `dead_letter_partition`, and every later dead letter of the key stands there or behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from typing_extensions import override

from mpsd.core.control import Entity, EntityKey, Kind
from mpsd.core.record import LogBounds, TopicPartition


@dataclass(frozen=True, slots=True)
class BlockedKey:
    """The reason for which a key is blocked.

    Attributes:
        offset: of the record that died, in its source partition.
        dead_letter_partition: the partition of the dead-letter topic that has its dead letter.
        dead_letter_offset: where its dead letter is in that partition.
        epoch: of the ownership of whoever wrote the entry.
    """

    offset: Annotated[int, 0]
    dead_letter_partition: Annotated[int, 0]
    dead_letter_offset: Annotated[int, 0]
    epoch: Annotated[int, -1]


class BlockedKeyId(NamedTuple):
    """The key of a blocked key's entity."""

    subscription: str
    topic: str
    partition: int
    key: bytes


BLOCKED = Kind(name="blocked", key=BlockedKeyId, value=BlockedKey, key_name="")


def first_dead_letter(blocked: BlockedKey, number: int, bounds: LogBounds) -> int:
    """Return where the dead letters of a key begin: the log's start, if the topic was recreated or given more partitions.

    Args:
        number: the partition of the dead-letter topic that has them now.
        bounds: of that partition.
    """
    is_another = blocked.dead_letter_partition != number or blocked.dead_letter_offset >= bounds.end
    return bounds.start if is_another else max(bounds.start, blocked.dead_letter_offset)


def entity_key(group: str, subscription: str, tp: TopicPartition, key: bytes) -> EntityKey:
    return BLOCKED.entity_key(group, BlockedKeyId(subscription, *tp, key))


class BlockedKeyBook:
    """The blocked keys of a subscription, as the control topic has them.

    Takes: entities as they change; those of others, and what cannot be read, are passed over.
    Gives: the blocked keys of a partition.
    Holds at most: what the control state holds.
    """

    def __init__(self, group: str, subscription: str) -> None:
        self._group = group
        self._subscription = subscription
        self._blocked: dict[TopicPartition, dict[bytes, BlockedKey]] = {}
        self._count = 0

    def on_entity(self, key: EntityKey, entity: Entity | None) -> tuple[TopicPartition, bytes] | None:
        """Apply a changed entity, None if it is gone; return its key, None if it is none of this subscription."""
        known = BLOCKED.key_of(key)
        if known is None or (key[0], known.subscription) != (self._group, self._subscription):
            return None
        blocked = BLOCKED.parse(key, entity) if entity is not None else None
        if entity is not None and blocked is None:
            return None
        tp = TopicPartition(known.topic, known.partition)
        keys = self._blocked.setdefault(tp, {})
        self._count += (blocked is not None) - (known.key in keys)
        if blocked is not None:
            keys[known.key] = blocked
        else:
            keys.pop(known.key, None)
        if not keys:
            del self._blocked[tp]
        return tp, known.key

    def of(self, tp: TopicPartition) -> Mapping[bytes, BlockedKey]:
        """Return the blocked keys of a partition, as of now."""
        return dict(self._blocked.get(tp, {}))

    def __len__(self) -> int:
        """Return the number of blocked keys, of all partitions."""
        return self._count

    @override
    def __repr__(self) -> str:
        return f"<BlockedKeyBook {self._subscription} keys={self._count}>"
