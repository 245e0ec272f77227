"""Held keys: of which nothing is delivered, as one of their records is dead.

    held    group, "held", subscription, topic, partition, key    {"epoch", "offset", "letter", "number"}

Only the owner of the partition writes and removes them. The record's own offset says which record it was, `number` and
`letter` where its dead letter is: everything of the key that is dead since then stands there or behind.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from typing_extensions import override

from mpsd.core.control import Entity, EntityKey, bytes_of, text_of
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.untrusted import Unfit, number

KIND = "held"
KEY_PARTS = 6


class HeldKey(NamedTuple):
    """Why a key is held.

    Attributes:
        offset: of the record that died, in its source partition.
        number: of the dead-letter topic's partition that has its dead letter.
        letter: offset of its dead letter there.
    """

    offset: int
    number: int
    letter: int

    def document(self, epoch: int) -> dict[str, Any]:
        """What its control record says beside its key.

        Args:
            epoch: of the ownership of whoever writes it.
        """
        return {"epoch": epoch, "offset": self.offset, "number": self.number, "letter": self.letter}


def first_letter(held: HeldKey, number: int, bounds: LogBounds) -> int:
    """Where the dead letters of a held key begin: at the log's start, if the topic was made anew or given more partitions.

    Args:
        number: of the dead-letter topic's partition that has them now.
        bounds: of that partition.
    """
    is_another = held.number != number or held.letter >= bounds.end
    return bounds.start if is_another else max(bounds.start, held.letter)


def entity_key(group: str, subscription: str, tp: TopicPartition, key: bytes) -> EntityKey:
    return (group, KIND, subscription, tp.topic, str(tp.partition), text_of(key))


class HeldBook:
    """What the control topic says of one subscription's held keys.

    Takes: entities as they change; those of others, and what cannot be read, are passed over.
    Gives: the held keys of a partition.
    Holds at most: what the control state holds.
    """

    def __init__(self, group: str, subscription: str) -> None:
        self._group = group
        self._subscription = subscription
        self._held: dict[TopicPartition, dict[bytes, HeldKey]] = {}
        self._count = 0

    def on_entity(self, key: EntityKey, entity: Entity | None) -> tuple[TopicPartition, bytes] | None:
        """An entity has changed, None: it is gone; which key that is of, None if none of ours."""
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
                *place, HeldKey(number(document, "offset"), number(document, "number"), number(document, "letter"))
            )
        except Unfit:
            return None
        return place

    def see(self, tp: TopicPartition, key: bytes, held: HeldKey) -> None:
        """It is held."""
        keys = self._held.setdefault(tp, {})
        self._count += key not in keys
        keys[key] = held

    def drop(self, tp: TopicPartition, key: bytes) -> None:
        """It is not held, or not any more."""
        keys = self._held.get(tp, {})
        self._count -= keys.pop(key, None) is not None
        if not keys:
            self._held.pop(tp, None)

    def of(self, tp: TopicPartition) -> Mapping[bytes, HeldKey]:
        """The held keys of a partition, as of now."""
        return dict(self._held.get(tp, {}))

    def partitions(self) -> Collection[TopicPartition]:
        """Those that have held keys."""
        return list(self._held)

    def __len__(self) -> int:
        """Held keys, of all partitions."""
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
        return f"<HeldBook {self._subscription} keys={self._count}>"
