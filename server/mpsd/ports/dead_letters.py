"""The ports to the dead-letter topic: written by a pipeline, read back by replays and operators."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mpsd.core.delivery import Delivery, ReplayedDelivery
from mpsd.core.record import LogBounds, LogPart


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record for the dead-letter topic.

    Attributes:
        headers: headers to add, in order; the record's own come first.
    """

    delivery: Delivery
    disposition: str
    reason: str
    headers: Sequence[tuple[str, bytes]]


class DlqPosition(NamedTuple):
    """The position of a dead letter in its topic."""

    topic: str
    partition: int
    offset: int


class DeadLetterSink(Protocol):
    """A writer of the dead-letter topic."""

    def write(self, dead_letters: Sequence[DeadLetter]) -> Awaitable[Sequence[DlqPosition | BaseException]]:
        """Write all; return for each its position once every in-sync replica has it, or why it was not written."""

    async def prepare(self) -> None:
        """Create the topic if it does not exist; called once at the start, so that errors show early.

        Raises:
            KafkaRefused, KafkaUnavailable: the topic was not created; `write` tries again.
        """

    async def close(self) -> None: ...


class DeadLetterLog(Protocol):
    """A reader of the dead-letter topic.

    Raises DeadLetterTopicGone, KafkaUnavailable or KafkaRefused.

    Attributes:
        topic_id: id of the topic that answered last; empty if unknown.
    """

    topic_id: str

    async def bounds(self) -> Mapping[int, LogBounds]:
        """Return first and end offset of every partition as they are now."""

    async def fetch(self, partition: int, offset: int, records_max: int) -> LogPart:
        """Return records from an offset on; none, and the same offset, if none came in a short while."""

    async def close(self) -> None: ...


class Republisher(Protocol):
    """A writer of dead letters to their source topics."""

    async def write(self, deliveries: Sequence[ReplayedDelivery]) -> None:
        """Write all, acknowledged by all in-sync replicas.

        Raises:
            KafkaUnavailable, KafkaRefused: any of them may be missing; write all again.
        """

    async def close(self) -> None: ...
