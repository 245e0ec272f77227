"""What a member looks after now and then: log ends, topics that are gone, and whether it is still known to be a member."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from mpsd.core.delivery import Assignment
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.kafka.connection import asking
from mpsd.kafka.consumer import GroupSettings
from mpsd.kafka.lease import Lease
from mpsd.kafka.log_ends import log_ends
from mpsd.kafka.owned import OwnedPartition
from mpsd.kafka.positions import Positions
from mpsd.kafka.topic_ids import TopicIds

log = logging.getLogger("mpsd.group")

LOOK_INTERVAL_S = 0.5
LOG_END_INTERVAL_S = 5.0
UNCONFIRMED = "Kafka has not confirmed the membership in time: no delivery starts until it does"


class GroupMonitor:
    """Runs beside a membership.

    Args:
        consumer: the present one.
        owned: the partitions that are ours now.
        on_log_end: told where one ends, and where what can be read of it ends.
        recreated: see `TopicIds`.
    """

    def __init__(
        self,
        settings: GroupSettings,
        lease: Lease,
        positions: Positions,
        consumer: Callable[[], Any],
        owned: Callable[[], Collection[OwnedPartition]],
        on_log_end: Callable[[Assignment, int, int], None],
        recreated: Callable[[Sequence[OwnedPartition]], Awaitable[None]],
    ) -> None:
        self._subscription = settings.subscription
        self._topics = settings.topics
        self._lease = lease
        self._positions = positions
        self._consumer = consumer
        self._owned = owned
        self._on_log_end = on_log_end
        self._ids = TopicIds(settings.subscription, consumer, owned, recreated)
        self._was_confirmed = False
        self.missing: list[str] = []

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self._watch(), self._watch_log_ends(), self._ids.run())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            self._tell_of_lease()
            consumer = self._consumer()
            if self._was_confirmed:
                self.missing = self._positions.see_topics(
                    {topic: len(consumer.partitions_for_topic(topic) or ()) for topic in self._topics}
                )

    def _tell_of_lease(self) -> None:
        is_confirmed = self._lease.left_s() > 0
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
        """An answer that does not come is only a lag that is older."""
        while True:
            await asyncio.sleep(LOG_END_INTERVAL_S)
            owned = [each for each in self._owned() if each.position is not None]
            try:
                with asking("look up log ends"):
                    ends = await log_ends(self._consumer(), [each.key for each in owned])
            except (KafkaUnavailable, KafkaRefused):
                continue
            for each in self._owned():
                if each in owned and each.key in ends:
                    self._on_log_end(each.assignment, *ends[each.key])
