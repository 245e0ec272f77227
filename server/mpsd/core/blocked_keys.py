"""Blocked keys: nothing of such a key is delivered, because one of its records is in the dead-letter topic.

    key      group, "blocked", subscription, topic, partition, key
    value    {"epoch", "offset", "dead_letter_partition", "dead_letter_offset"}

Only the owner of the partition writes and removes an entry. `offset` names the record that died; its dead letter is at
`dead_letter_offset` of `dead_letter_partition`, and every later dead letter of the key stands there or behind.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from typing_extensions import override

from mpsd.core.control import Entity, EntityKey, Kind
from mpsd.core.record import LogBounds, TopicPartition


class BlockedKey(NamedTuple):
    """The reason for which a key is blocked.

    Attributes:
        offset: of the record that died, in its source partition.
        dead_letter_partition: the partition of the dead-letter topic that has its dead letter.
        dead_letter_offset: where its dead letter is in that partition.
    """

    offset: int
    dead_letter_partition: int
    dead_letter_offset: int

    def document(self, epoch: int) -> dict[str, Any]:
        """Return the document of its control record.

        Args:
            epoch: of the ownership of whoever writes it.
        """
        return BLOCKED.document(KeyBlock(epoch=epoch, **self._asdict()))


class BlockedKeyId(NamedTuple):
    """The key of a blocked key's entity."""

    subscription: str
    topic: str
    partition: int
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBlock:
    """The document of a blocked key: see `BlockedKey`.

    Attributes:
        epoch: of the ownership of whoever wrote it.
    """

    epoch: Annotated[int, -1]
    offset: Annotated[int, 0]
    dead_letter_partition: Annotated[int, 0]
    dead_letter_offset: Annotated[int, 0]


BLOCKED = Kind(name="blocked", key=BlockedKeyId, value=KeyBlock, key_name="")


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
        """Take in an entity that has changed, None if it is gone; return its key, None if it is none of ours."""
        known = BLOCKED.key_of(key)
        if known is None or (key[0], known.subscription) != (self._group, self._subscription):
            return None
        blocked_key = TopicPartition(known.topic, known.partition), known.key
        if entity is None:
            self.drop(*blocked_key)
        elif (block := BLOCKED.parse(key, entity)) is not None:
            self.see(*blocked_key, BlockedKey(block.offset, block.dead_letter_partition, block.dead_letter_offset))
        else:
            return None
        return blocked_key

    def see(self, tp: TopicPartition, key: bytes, blocked: BlockedKey) -> None:
        """Add a blocked key."""
        keys = self._blocked.setdefault(tp, {})
        self._count += key not in keys
        keys[key] = blocked

    def drop(self, tp: TopicPartition, key: bytes) -> None:
        """Remove a key that is not blocked, or not any more."""
        keys = self._blocked.get(tp, {})
        self._count -= keys.pop(key, None) is not None
        if not keys:
            self._blocked.pop(tp, None)

    def of(self, tp: TopicPartition) -> Mapping[bytes, BlockedKey]:
        """Return the blocked keys of a partition, as of now."""
        return dict(self._blocked.get(tp, {}))

    def partitions(self) -> Collection[TopicPartition]:
        """Return the partitions that have blocked keys."""
        return list(self._blocked)

    def __len__(self) -> int:
        """Return the number of blocked keys, of all partitions."""
        return self._count

    @override
    def __repr__(self) -> str:
        return f"<BlockedKeyBook {self._subscription} keys={self._count}>"
