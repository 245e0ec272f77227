"""What a member knows of a partition that it owns."""

from aiokafka import TopicPartition as ClientPartition

from mpsd.core.delivery import Assignment


class OwnedPartition:
    """A partition of ours.

    Attributes:
        key: the partition as the client library names it.
        position: the offset that is read next; None until the committed one was looked up.
        leaving: it is being drained.
        stopped: why it is not read at all, in words; empty otherwise.
    """

    __slots__ = ("assignment", "key", "leaving", "position", "stopped")

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.key = ClientPartition(*assignment.tp)
        self.position: int | None = None
        self.leaving = False
        self.stopped = ""
