"""Blocked keys: nothing of such a key is delivered, because one of its records is in the dead-letter topic.

    key      group, "blocked", subscription, topic, partition, key
    value    {"epoch", "offset", "dead_letter_partition", "dead_letter_offset"}

Only the owner of the partition writes and removes an entry. `offset` names the record that died; its dead letter is at
`dead_letter_offset` of `dead_letter_partition`, and every later dead letter of the key stands there or behind.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from typing_extensions import override

from mpsd.core.control import Entity, EntityKey, bytes_of, text_of
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.untrusted import Unfit, number

KIND = "blocked"
KEY_PARTS = 6


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
        """Return the value of its control record.

        Args:
            epoch: of the ownership of whoever writes it.
        """
        return {
            "epoch": epoch,
            "offset": self.offset,
            "dead_letter_partition": self.dead_letter_partition,
            "dead_letter_offset": self.dead_letter_offset,
        }


def first_dead_letter(blocked: BlockedKey, number: int, bounds: LogBounds) -> int:
    """Return where the dead letters of a key begin: the log's start, if the topic was recreated or given more partitions.

    Args:
        number: the partition of the dead-letter topic that has them now.
        bounds: of that partition.
    """
    is_another = blocked.dead_letter_partition != number or blocked.dead_letter_offset >= bounds.end
    return bounds.start if is_another else max(bounds.start, blocked.dead_letter_offset)


def entity_key(group: str, subscription: str, tp: TopicPartition, key: bytes) -> EntityKey:
    return (group, KIND, subscription, tp.topic, str(tp.partition), text_of(key))


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
        place = self._parse(key)
        if place is None:
            return None
        if entity is None:
            self.drop(*place)
            return place
        try:
            document = entity.document
            number(document, "epoch", -1)
            self.see(
                *place,
                BlockedKey(
                    number(document, "offset"),
                    number(document, "dead_letter_partition"),
                    number(document, "dead_letter_offset"),
                ),
            )
        except Unfit:
            return None
        return place

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

    def _parse(self, key: EntityKey) -> tuple[TopicPartition, bytes] | None:
        if len(key) != KEY_PARTS or key[:3] != (self._group, KIND, self._subscription) or not key[4].isdecimal():
            return None
        try:
            found = bytes_of(key[5])
        except ValueError:
            return None
        return None if found is None else (TopicPartition(key[3], int(key[4])), found)

    @override
    def __repr__(self) -> str:
        return f"<BlockedKeyBook {self._subscription} keys={self._count}>"
