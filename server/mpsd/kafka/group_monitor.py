"""Background work of a member: look-ups of positions and log ends, topics that are gone, and the lease."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress

from aiokafka.errors import UnknownTopicOrPartitionError

from mpsd.core.delivery import Assignment
from mpsd.core.incarnation import Incarnation
from mpsd.core.record import TopicPartition
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.kafka.connection import asking
from mpsd.kafka.membership import Membership, OwnedPartition
from mpsd.kafka.positions import log_ends
from mpsd.kafka.topic_look import incarnations, topic_ids
from mpsd.ports import Position

log = logging.getLogger("mpsd.group")


LOOK_INTERVAL_S = 0.5
LOG_END_INTERVAL_S = 5.0
ID_INTERVAL_S = 1.0
UNCONFIRMED = "Kafka has not confirmed the membership in time: no delivery starts until it does"


class GroupMonitor:
    """Background checks of a membership.

    Args:
        on_log_end: told where the log of a partition ends, and where the part that can be read ends.
        recreated: told the partitions whose topic was recreated; called again while it fails.

    Attributes:
        missing: topics that were deleted and do not exist again.
    """

    def __init__(
        self,
        member: Membership,
        on_log_end: Callable[[Assignment, int, int], None],
        recreated: Callable[[Sequence[OwnedPartition]], Awaitable[None]],
    ) -> None:
        self._member = member
        self._subscription = member.settings.subscription
        self._on_log_end = on_log_end
        self._recreated = recreated
        self._was_confirmed = False
        self.missing: list[str] = []

    async def run(self) -> None:
        """Run all checks until cancelled."""
        await asyncio.gather(self._watch(), self._watch_log_ends(), self._watch_topic_ids())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            self._tell_of_lease()
            consumer = self._member.consumer
            if self._was_confirmed:
                self.missing = self._member.positions.see_topics(
                    {topic: len(consumer.partitions_for_topic(topic) or ()) for topic in self._member.settings.topics}
                )

    def _tell_of_lease(self) -> None:
        is_confirmed = self._member.lease.left_s() > 0
        if is_confirmed == self._was_confirmed:
            return
        self._was_confirmed = is_confirmed
        if is_confirmed:
            extra = {"code": "group.confirmed", "subscription": self._subscription}
            log.info("%s: Kafka has confirmed the membership", self._subscription, extra=extra)
        else:
            extra = {"code": "group.unconfirmed", "subscription": self._subscription}
            log.warning("%s: %s", self._subscription, UNCONFIRMED, extra=extra)

    async def _watch_log_ends(self) -> None:
        """Look up log ends now and then; a missing answer only leaves an older lag."""
        while True:
            await asyncio.sleep(LOG_END_INTERVAL_S)
            owned = [each for each in self._member.owned.values() if each.position is not None]
            try:
                with asking("look up log ends"):
                    ends = await log_ends(self._member.consumer, [each.key for each in owned])
            except (KafkaUnavailable, KafkaRefused):
                continue
            for each in self._member.owned.values():
                if each in owned and each.key in ends:
                    self._on_log_end(each.assignment, *ends[each.key])

    async def _watch_topic_ids(self) -> None:
        """Look for topics that were deleted and recreated between two looks."""
        while True:
            await asyncio.sleep(ID_INTERVAL_S)
            with suppress(KafkaUnavailable, KafkaRefused):
                await self._look_at_ids()

    async def _look_at_ids(self) -> None:
        with asking("look up topics"):
            ids = await topic_ids(
                self._member.consumer, {each.assignment.tp.topic for each in self._member.owned.values()}
            )
        old = [each for each in self._member.owned.values() if self._is_of_former(each, ids)]
        for topic in sorted({each.assignment.tp.topic for each in old}):
            extra = {"code": "kafka.topic_recreated", "subscription": self._subscription}
            log.error("topic %s was recreated; reading it from its first record", topic, extra=extra)
        if old:
            await self._recreated(old)

    @staticmethod
    def _is_of_former(owned: OwnedPartition, ids: Mapping[str, bytes]) -> bool:
        """Return True if the partition's topic has another id now than when the partition was assigned."""
        known, now = owned.assignment.incarnation.topic_id, ids.get(owned.assignment.tp.topic)
        return bool(known and now) and known != now


REST_S = 1.0


class PositionLoader:
    """A look-up of positions that goes on until it succeeds, one task at a time.

    Args:
        found: told where a partition begins, None if `out_of_range` says to stop.

    Attributes:
        waiting: why it has not succeeded yet; empty if it has.
    """

    def __init__(self, member: Membership, found: Callable[[OwnedPartition, Position | None], None]) -> None:
        self._member = member
        self._found = found
        self._task: asyncio.Task[None] | None = None
        self.waiting = ""

    def begin(self) -> None:
        """Look up the partitions of a new assignment."""
        self.cancel()
        for owned in self._member.owned.values():
            owned.stopped = ""
        self._task = asyncio.create_task(self._run())

    def cancel(self) -> None:
        """Cancel the look-up."""
        self.waiting = ""
        if self._task is not None:
            self._task.cancel()

    @property
    def failed(self) -> asyncio.Task[None] | None:
        """Return the look-up if a bug has ended it, because gained partitions would wait for ever."""
        task = self._task
        return task if task is not None and task.done() and not task.cancelled() and task.exception() else None

    async def _run(self) -> None:
        while gained := [
            owned for owned in self._member.owned.values() if owned.position is None and not owned.stopped
        ]:
            try:
                with asking("look up where assigned partitions begin"):
                    known = await self._incarnations(gained)
                    found = await self._member.positions.look_up(self._member.consumer, known)
            except (KafkaUnavailable, KafkaRefused) as error:
                self.waiting = str(error)
                extra = {"code": error.code, "subscription": self._member.settings.subscription}
                log.warning("%s: waiting: %s", self._member.settings.subscription, error, extra=extra)
                await asyncio.sleep(REST_S)
                continue
            self.waiting = ""
            for owned in gained:
                if (
                    owned not in self._member.owned.values()
                ):  # lost meanwhile: read as ours, it would be asked for without a rest
                    continue
                owned.assignment.identify(known[owned.assignment.tp])
                self._found(owned, found[owned.assignment.tp])

    async def _incarnations(self, gained: Collection[OwnedPartition]) -> dict[TopicPartition, Incarnation]:
        """Return the topic of each partition, without which no record is delivered and no commit is believed."""
        topics = {owned.assignment.tp.topic for owned in gained}
        known = await incarnations(self._member.consumer, topics)
        if missing := topics - known.keys():
            raise UnknownTopicOrPartitionError(*sorted(missing))
        return {owned.assignment.tp: known[owned.assignment.tp.topic] for owned in gained}
