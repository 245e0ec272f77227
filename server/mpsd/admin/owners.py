"""Partitions of instances that do not answer: who has them is for the group's coordinator to say."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.daemon import Steerable
from mpsd.admin.fleet import MARGIN
from mpsd.admin.states import SEVERITIES
from mpsd.core.pauses import Scope
from mpsd.core.record import TopicPartition
from mpsd.core.states import DeliveryState
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.pipeline.pipeline import Pipeline

LOOKUP_S_MAX = 2.0
"""Beyond the time that the instance itself was given."""
KEPT_S = 5.0
"""How long an answer is good for: who watches the status asks each second, and a look is a connection to Kafka."""

Assigned = Mapping[str, Sequence[TopicPartition]]
"""By the id of the instance."""


class Owners:
    """Asks who has which partition, where somebody does not say it himself.

    Holds at most: one answer for each group.
    """

    def __init__(self, daemon: Steerable) -> None:
        self._daemon = daemon
        self._known: dict[str, tuple[float, Assigned]] = {}

    async def unheard(
        self, pipelines: Collection[Pipeline], silent: Sequence[pb.Instance], left_s: float | None
    ) -> Mapping[str, list[pb.PartitionStatus]]:
        """The partitions of those that are silent, by subscription; where they are not known, these say why not.

        Args:
            left_s: how long the caller will wait; None: for ever.
        """
        if not silent:
            return {}
        wait_s = LOOKUP_S_MAX if left_s is None else max(0.0, min(LOOKUP_S_MAX, left_s * (1 - MARGIN)))
        found: dict[str, list[pb.PartitionStatus]] = {}
        try:
            async with asyncio.timeout(wait_s):
                for pipeline in pipelines:
                    assigned = await self._assigned(pipeline.settings.sender.group)
                    found[pipeline.settings.name] = [
                        _unknown(tp, instance) for instance in silent for tp in assigned.get(instance.id, ())
                    ]
        except (TimeoutError, KafkaUnavailable, KafkaRefused, _Rebalancing) as error:
            why = str(error) or "Kafka did not say it in time"
            for instance in silent:
                instance.problem += f"; which partitions it has is not known: {why}"
        return found

    async def _assigned(self, group: str) -> Assigned:
        """Raises KafkaUnavailable, KafkaRefused, _Rebalancing."""
        now_s = time.monotonic()
        if group in self._known and now_s - self._known[group][0] < KEPT_S:
            return self._known[group][1]
        members = await self._daemon.members(group)
        if not members.is_stable:
            raise _Rebalancing("the group is rebalancing")
        assigned: dict[str, list[TopicPartition]] = {}
        for peer, partitions in members.assigned:
            assigned.setdefault(peer.instance, []).extend(partitions)
        self._known[group] = now_s, assigned
        return assigned


class _Rebalancing(Exception):  # noqa: N818
    """Nobody has anything for certain now."""


def within(scope: Scope, part: pb.PartitionStatus) -> bool:
    """Whether it is asked for."""
    return scope.topic in {None, part.topic} and scope.partition in {None, part.partition}


def _unknown(tp: TopicPartition, instance: pb.Instance) -> pb.PartitionStatus:
    return pb.PartitionStatus(
        topic=tp.topic,
        partition=tp.partition,
        instance=instance.address,
        state=DeliveryState.UNKNOWN.value,
        state_severity=SEVERITIES[DeliveryState.UNKNOWN.severity],
        state_reason=f"the daemon that has it does not answer: {instance.problem}",
        next_offset=-1,
        log_end=-1,
    )
