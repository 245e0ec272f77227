"""Skips: what was sent to the dead-letter topic on an operator's word, so that the same request is answered the same.

A skip is over when it is answered, so nothing of it stays in the control topic but the removal of what never was: its
key says which record it was and where it is now, its headers whose request that was. Every daemon remembers the request
as it does any other, for a day and over restarts: see `docs/decisions/control-topic.md`.
"""

from collections.abc import Sequence

from mpsd.core.control import EntityKey
from mpsd.core.record import TopicPartition

KIND = "skip"

RecordPosition = tuple[TopicPartition, int]
"""A partition and an offset in it."""


def entity_key(group: str, subscription: str, source: RecordPosition, dead_letter: RecordPosition) -> EntityKey:
    """Return the key of the control record that names a skipped record and its dead letter."""
    return (group, KIND, subscription, *_parts(source), *_parts(dead_letter))


def is_of(key: EntityKey, group: str, subscription: str, source: RecordPosition) -> bool:
    """Return True if the key is of a skip of this record."""
    return key[:-3] == (group, KIND, subscription, *_parts(source)) and dead_letter_of(key) is not None


def dead_letter_of(key: EntityKey) -> RecordPosition | None:
    """Return the position of the dead letter; None if the key is no skip, which a foreign record's may be."""
    topic, *numbers = key[-3:]
    if len(key) != len(("group", KIND, "subscription")) + 6 or not all(map(str.isdecimal, numbers)):
        return None
    partition, offset = map(int, numbers)
    return TopicPartition(topic, partition), offset


def _parts(place: RecordPosition) -> Sequence[str]:
    tp, offset = place
    return tp.topic, str(tp.partition), str(offset)
