"""Skips: records that were sent to the dead-letter topic on an operator's word, so that a repeated request has the same answer.

A skip is an event: its record has a key and no value, so that the topic keeps nothing of it in the end. Every daemon
remembers the request as it does any other, for a day and over restarts: see `docs/decisions/control-topic.md`.
"""

from typing import NamedTuple

from mpsd.core.control import Kind
from mpsd.core.record import TopicPartition


class Skip(NamedTuple):
    """The key of a skip: which record was skipped, and where its dead letter is."""

    subscription: str
    topic: str
    partition: int
    offset: int
    dead_letter_topic: str
    dead_letter_partition: int
    dead_letter_offset: int

    @property
    def source(self) -> tuple[TopicPartition, int]:
        """Return the position of the record that was skipped."""
        return TopicPartition(self.topic, self.partition), self.offset


SKIP = Kind(name="skip", key=Skip, value=type(None))
