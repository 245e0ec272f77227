"""Queries of the admin service to the Kafka cluster, each with a connection of its own."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from mpsd.admin.daemon import Finding, GroupPosition, Members
from mpsd.config import Config
from mpsd.core.record import TopicPartition
from mpsd.core.resets import Move, To
from mpsd.kafka.cluster import STABLE, Cluster, group_positions, members, moves
from mpsd.kafka.connection import Options
from mpsd.kafka.dead_letter_log import KafkaDeadLetterLog
from mpsd.service.check import check, transaction_findings


class ClusterAdmin:
    """Queries to the cluster; each opens a connection, because operators ask seldom and an idle connection may be stale."""

    def __init__(self, config: Config, options: Options) -> None:
        self._config = config
        self._options = options

    async def diagnose(self, within_s: float) -> Sequence[Finding]:
        """See `admin.daemon.Steerable`."""
        found, transactions = await asyncio.gather(
            check(self._config, self._options, within_s), self._transactions(within_s)
        )
        is_blamed = any(each.about == "kafka" and not each.ok for each in found)
        return found if is_blamed else [*found, *transactions]

    async def _transactions(self, within_s: float) -> Sequence[Finding]:
        """Return the findings about open transactions; none of a silent broker, which is a finding already."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await transaction_findings(self._config, self._options)
        return []

    async def members(self, group: str) -> Members:
        """See `admin.daemon.Steerable`."""
        state, found = await members(self._options, group)
        return Members(state == STABLE, [peer for peer, _ in found], found)

    async def positions(self, group: str) -> Mapping[TopicPartition, GroupPosition]:
        """See `admin.daemon.Steerable`."""
        topics = {topic for each in self._config.subscriptions if each.group == group for topic in each.topics}
        found = await group_positions(self._options, group, sorted(topics))
        return {tp: GroupPosition(*position) for tp, position in found.items()}

    async def moves(self, subscription: str, to: To) -> Mapping[TopicPartition, Move]:
        """See `admin.daemon.Steerable`."""
        (found,) = (each for each in self._config.subscriptions if each.name == subscription)
        return await moves(self._options, found.group, found.topics, to)

    @asynccontextmanager
    async def dead_letters(self, subscription: str) -> AsyncIterator[KafkaDeadLetterLog]:
        """See `admin.daemon.Steerable`."""
        (topic,) = (each.dead_letter.topic for each in self._config.subscriptions if each.name == subscription)
        log = KafkaDeadLetterLog(topic, self._options)
        try:
            yield log
        finally:
            await log.close()

    async def partitions(self, subscription: str) -> Mapping[str, int]:
        """See `admin.daemon.Steerable`."""
        (topics,) = (each.topics for each in self._config.subscriptions if each.name == subscription)
        async with Cluster(self._options) as cluster:
            found = await cluster.look(sorted(topics))
        return {topic: found[topic].partitions for topic in topics}
