"""Looks up where gained partitions begin, until it succeeds."""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any

from aiokafka.errors import UnknownTopicOrPartitionError

from mpsd.core.incarnation import Incarnation
from mpsd.core.record import TopicPartition
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.kafka.connection import asking
from mpsd.kafka.owned import OwnedPartition
from mpsd.kafka.positions import Positions
from mpsd.kafka.topic_ids import incarnations
from mpsd.ports import Position

log = logging.getLogger("mpsd.group")

REST_S = 1.0


class PositionLoader:
    """One task at a time; a rebalance begins it anew.

    Args:
        consumer: the present one.
        owned: the partitions that are ours now.
        found: told where one begins, None where `out_of_range` says to stop.

    Attributes:
        waiting: what keeps it from succeeding, in words.
    """

    def __init__(
        self,
        subscription: str,
        positions: Positions,
        consumer: Callable[[], Any],
        owned: Callable[[], Collection[OwnedPartition]],
        found: Callable[[OwnedPartition, Position | None], None],
    ) -> None:
        self._subscription = subscription
        self._positions = positions
        self._consumer = consumer
        self._owned = owned
        self._found = found
        self._task: asyncio.Task[None] | None = None
        self.waiting = ""

    def begin(self) -> None:
        """There is a new assignment."""
        self.cancel()
        for owned in self._owned():
            owned.stopped = ""
        self._task = asyncio.create_task(self._run())

    def cancel(self) -> None:
        """Look nothing up any more."""
        self.waiting = ""
        if self._task is not None:
            self._task.cancel()

    @property
    def failed(self) -> asyncio.Task[None] | None:
        """The look-up, if a bug has ended it: what was gained would wait for ever."""
        task = self._task
        return task if task is not None and task.done() and not task.cancelled() and task.exception() else None

    async def _run(self) -> None:
        while gained := [owned for owned in self._owned() if owned.position is None and not owned.stopped]:
            try:
                with asking("look up where assigned partitions begin"):
                    known = await self._incarnations(gained)
                    found = await self._positions.look_up(self._consumer(), known)
            except (KafkaUnavailable, KafkaRefused) as error:
                self.waiting = str(error)
                extra = {"code": error.code, "subscription": self._subscription}
                log.warning("%s: waiting: %s", self._subscription, error, extra=extra)
                await asyncio.sleep(REST_S)
                continue
            self.waiting = ""
            for owned in gained:
                if owned not in self._owned():  # lost meanwhile: read as ours, it would be asked for without a rest
                    continue
                owned.assignment.identify(known[owned.assignment.tp])
                self._found(owned, found[owned.assignment.tp])

    async def _incarnations(self, gained: Collection[OwnedPartition]) -> dict[TopicPartition, Incarnation]:
        """Return which topics the partitions are of: nothing of one is delivered, nor its commit believed, without."""
        topics = {owned.assignment.tp.topic for owned in gained}
        known = await incarnations(self._consumer(), topics)
        if missing := topics - known.keys():
            raise UnknownTopicOrPartitionError(*sorted(missing))
        return {owned.assignment.tp: known[owned.assignment.tp.topic] for owned in gained}
