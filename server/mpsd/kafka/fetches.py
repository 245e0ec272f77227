"""From what the client library hands out to what is told of it: records, and how far the log has been read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mpsd.core.delivery import Assignment
from mpsd.kafka.owned import OwnedPartition
from mpsd.ports import Fetched


def taken(
    consumer: Any, got: Mapping[Any, Sequence[Any]], partitions: Iterable[OwnedPartition]
) -> dict[Assignment, Fetched]:
    """What is new of these partitions, into the assignments that they have now; their positions move on."""
    fetched: dict[Assignment, Fetched] = {}
    for owned in partitions:
        if owned.position is None:
            continue
        records = got.get(owned.key, [])
        if records and records[0].offset < owned.position:  # of an assignment before this one
            continue
        position = _position(consumer, owned.key)
        if records or position > owned.position:
            owned.position = max(position, owned.position)
            fetched[owned.assignment] = Fetched(records, owned.position, consumer.highwater(owned.key) or -1)
    return fetched


def _position(consumer: Any, key: Any) -> int:
    """The offset that the library hands out next; it has passed markers and holes that hold no record."""
    assignment = consumer._subscription.subscription.assignment
    state = assignment.state_value(key) if assignment is not None else None
    return state.position if state is not None and state.has_valid_position else -1
