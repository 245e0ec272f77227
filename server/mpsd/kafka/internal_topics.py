"""Topics that the daemon keeps for itself: the control topic and the audit topic, created and checked."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from mpsd.config import Control
from mpsd.core.control import REQUEST_AGE_MAX_MS
from mpsd.core.topic_durability import MIN_IN_SYNC, REPLICATION_MAX
from mpsd.kafka.topic_look import look_at

log = logging.getLogger("mpsd.control")

TOMBSTONE_AGE_MS = 7 * 24 * 3_600_000
"""A daemon that was cut off for less than a week still learns what was removed."""
SEGMENT_MS = 24 * 3_600_000
SEGMENT_BYTES = 33_554_432
"""Only closed segments are compacted; what a start must read stays in the tens of megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalTopic:
    """A topic of one partition, with the settings it should have.

    Attributes:
        replication_factor: 0: three, or as many as there are brokers.
        configs: with which it is made.
    """

    name: str
    purpose: str
    replication_factor: int
    configs: Mapping[str, str]

    async def ensure(self, admin: Any) -> list[str]:
        """Create the topic, or return the weak settings of the existing one.

        Raises:
            KafkaError: as the library does.
        """
        if (weak := await self.look(admin)) is not None:
            return weak
        await self.create(admin)
        log.info("created %s topic %s", self.purpose, self.name, extra={"code": "control.topic_created"})
        return []

    async def create(self, admin: Any, *, only_try: bool = False) -> None:
        """Create the topic.

        Args:
            only_try: let the broker say whether it would, and change nothing.

        Raises:
            KafkaError: the broker refuses.
        """
        replicas = await self._replicas(admin)
        configs = dict(self.configs)
        if replicas >= REPLICATION_MAX:
            configs["min.insync.replicas"] = str(MIN_IN_SYNC)
        await create_topic(admin, self.name, 1, replicas, configs, only_try=only_try)

    async def look(self, admin: Any) -> list[str] | None:
        """Return the weak settings, formatted; None if the topic does not exist.

        Raises:
            KafkaError: as the library does.
        """
        look = (await look_at(admin, [self.name]))[self.name]
        if not look.is_visible:
            raise TopicAuthorizationFailedError(self.name)
        if not look.exists:
            return None
        weak = weaknesses(self, look.partitions, look.replicas, await self._replicas(admin), look.configs or {})
        return weak if look.configs is not None else [*weak, "settings that are not visible (grant DescribeConfigs)"]

    async def _replicas(self, admin: Any) -> int:
        brokers = len((await admin.describe_cluster())["brokers"])
        return self.replication_factor or min(REPLICATION_MAX, brokers)


def control_topic(control: Control) -> InternalTopic:
    """Return the control topic: no compaction of the last day, so that request ids are known."""
    return InternalTopic(
        name=control.topic,
        purpose="control",
        replication_factor=control.replication_factor,
        configs={
            "cleanup.policy": "compact",
            "min.compaction.lag.ms": str(REQUEST_AGE_MAX_MS),
            "delete.retention.ms": str(TOMBSTONE_AGE_MS),
            "segment.ms": str(SEGMENT_MS),
            "segment.bytes": str(SEGMENT_BYTES),
        },
    )


def audit_topic(control: Control) -> InternalTopic:
    """Return the topic of the history of changes."""
    return InternalTopic(
        name=control.audit_topic,
        purpose="audit",
        replication_factor=control.replication_factor,
        configs={"cleanup.policy": "delete", "retention.ms": str(control.audit_retention_s * 1000 or -1)},
    )


async def create_topic(
    admin: Any, name: str, partitions: int, replicas: int, configs: Mapping[str, str], *, only_try: bool
) -> None:
    """Create a topic, or leave it as it is if it exists.

    Args:
        only_try: let the broker say whether it would, and change nothing.

    Raises:
        KafkaError: the broker refuses.
    """
    topic = NewTopic(name=name, num_partitions=partitions, replication_factor=replicas, topic_configs=dict(configs))
    for refused, code, *_ in (await admin.create_topics([topic], validate_only=only_try)).topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise for_code(code)(refused)


def weaknesses(
    topic: InternalTopic, partitions: int, replicas: int, replicas_wanted: int, configs: Mapping[str, str]
) -> list[str]:
    """Return the weak settings, formatted."""
    weak = []
    if partitions > 1:
        weak.append(f"{partitions} partitions, of which only the first is used")
    if replicas < replicas_wanted:
        weak.append(f"{replicas} replica(s) instead of {replicas_wanted}")
    if replicas >= REPLICATION_MAX and int(configs.get("min.insync.replicas", MIN_IN_SYNC)) < MIN_IN_SYNC:
        weak.append(f"min.insync.replicas {configs['min.insync.replicas']} instead of {MIN_IN_SYNC}")
    policy, wanted = configs.get("cleanup.policy", ""), topic.configs["cleanup.policy"]
    if policy and policy != wanted:
        weak.append(f"cleanup.policy {policy} instead of {wanted}")
    kept_ms, wanted_ms = (int(each.get("retention.ms", -1)) for each in (configs, topic.configs))
    if wanted == "delete" and kept_ms >= 0 and (wanted_ms < 0 or kept_ms < wanted_ms):
        weak.append(f"retention {kept_ms // 1000} s")
    return weak
