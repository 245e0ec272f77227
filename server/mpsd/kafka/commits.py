"""Commits of a member: none behind a JoinGroup, none for what is somebody else's."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import (
    IllegalGenerationError,
    OffsetMetadataTooLargeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata

from mpsd.core.delivery import Assignment
from mpsd.errors import CommitFenced, KafkaUnavailable, MetadataTooLarge
from mpsd.kafka.connection import asking
from mpsd.ports import CommitPoint

TIMEOUT_S = 5.0
FENCED = (IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)


class Commits:
    """A gate that lets commits through while the member is joined.

    A commit that travels behind an outstanding JoinGroup is answered with IllegalGeneration, which forces another
    rebalance; in a group of several that never ends. So commits wait from `hold` to `let`.

    Holds at most: one commit under way.
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._one = asyncio.Lock()
        self._task: asyncio.Task[Any] | None = None

    async def hold(self) -> None:
        """Stop commits, because a JoinGroup is about to be sent; return when the running one has ended."""
        self._open.clear()
        async with self._one:
            pass

    def let(self) -> None:
        """Let commits through again, because the assignment has arrived."""
        self._open.set()

    def abandon(self) -> None:
        """Cancel the queued commit, which would be sent with the member id of the next membership."""
        if self._task is not None:
            self._task.cancel()

    async def commit(
        self, consumer: Any, points: Mapping[Assignment, CommitPoint], is_ours: Callable[[Assignment], bool]
    ) -> None:
        """See `RecordSource.commit`.

        Args:
            is_ours: asked when nothing can come between the answer and the sending any more.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._open.wait()
        except TimeoutError:
            raise KafkaUnavailable("could not commit: the group is rebalancing") from None
        async with self._one:
            if not self._open.is_set():
                raise KafkaUnavailable("could not commit: the group is rebalancing")
            if not all(map(is_ours, points)):
                raise CommitFenced("could not commit: a partition has moved meanwhile")
            offsets = {
                ClientPartition(*assignment.tp): OffsetAndMetadata(*point) for assignment, point in points.items()
            }
            self._task = asyncio.create_task(_send(consumer._coordinator, offsets))
            try:
                await self._finish(self._task)
            finally:
                self._task.cancel()
                self._task = None

    async def _finish(self, task: asyncio.Task[Any]) -> None:
        """Wait for a commit with a bound, because the library looks for a coordinator for ever."""
        try:
            with asking("commit"):
                async with asyncio.timeout(TIMEOUT_S):
                    await asyncio.wait([task])
                if task.cancelled():
                    raise CommitFenced("could not commit: the membership ended meanwhile")
                task.result()
        except KafkaUnavailable as error:
            if isinstance(error.__cause__, FENCED):
                raise CommitFenced("could not commit: the group has gone on without this member") from error
            if isinstance(error.__cause__, OffsetMetadataTooLargeError):
                raise MetadataTooLarge("could not commit: the offset map is larger than the broker allows") from error
            raise


async def _send(coordinator: Any, offsets: Mapping[Any, Any]) -> None:
    """Send a commit once, because the library's own `commit` retries for ever, and its cancelled request goes on unheard.

    A commit without a generation would be taken by a group that is empty, whatever others had committed meanwhile.
    """
    await coordinator.ensure_coordinator_known()
    if coordinator.generation < 0:
        raise IllegalGenerationError
    await coordinator._do_commit_offsets(None, offsets)
