"""The dead-letter topic itself: made if it is missing, looked at if it is there, refused if it would lose dead letters."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from mpsd.core.topic_durability import MIN_IN_SYNC, REPLICATION_MAX, WantedSettings, Weakness, weaknesses
from mpsd.errors import DeadLetterTopicUnsafe, KafkaUnavailable
from mpsd.kafka.connection import asking, start
from mpsd.kafka.topic_look import TopicLook, look_at

log = logging.getLogger("mpsd.dead_letters")

ADDED_BYTES_MAX = 65_536
"""What a topic that is made takes beyond its sources, so that no dead letter loses its value to the headers added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSettings:
    """What the sink needs to know; ranges, defaults and reasons are the configuration's.

    Attributes:
        replication_factor: 0: three, or as many as there are brokers.
        retention_s: 0: for ever.
    """

    topic: str
    source_topics: tuple[str, ...]
    retention_s: int
    replication_factor: int
    write_timeout_s: float

    def wanted(self, looks: Mapping[str, TopicLook], brokers: int) -> WantedSettings:
        """Return what the topic should be like, given its source topics and the size of the cluster."""
        return WantedSettings(
            replicas=self.replication_factor or min(REPLICATION_MAX, brokers),
            retention_s=self.retention_s,
            record_bytes_max=max(looks[topic].number("max.message.bytes") or 0 for topic in self.source_topics),
        )


def weaknesses_of(settings: DeadLetterSettings, looks: Mapping[str, TopicLook], brokers: int) -> list[Weakness]:
    """Return what is weak of an existing dead-letter topic.

    Args:
        looks: of the dead-letter topic and its source topics.
    """
    return weaknesses(looks[settings.topic].settings, settings.wanted(looks, brokers))


class DeadLetterTopic:
    """One dead-letter topic, made and checked whenever a writer connects."""

    def __init__(self, settings: DeadLetterSettings, options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._options = options
        self._said: list[str] = []

    async def prepare(self) -> None:
        """Make the topic, or look at the one that is there; log what is weak of it, once.

        Raises:
            DeadLetterTopicUnsafe: it would lose dead letters.
            KafkaRefused: the user may not see or make it.
            KafkaUnavailable: not now, or a source topic does not exist yet: it could be a typing error.
        """
        name = self._settings.topic
        admin = AIOKafkaAdminClient(**self._options)
        with asking(f"prepare dead-letter topic {name}"):
            try:
                async with asyncio.timeout(self._settings.write_timeout_s):
                    await start(admin, self._options)
                    looks = await look_at(admin, [name, *self._settings.source_topics])
                    brokers = len((await admin.describe_cluster())["brokers"])
                    if not looks[name].is_visible:
                        raise TopicAuthorizationFailedError(name)
                    if not looks[name].exists:
                        await self._create(admin, looks, brokers)
                        return
            finally:
                await admin.close()
        self._judge(looks, brokers)

    def _judge(self, looks: Mapping[str, TopicLook], brokers: int) -> None:
        name = self._settings.topic
        weak = weaknesses_of(self._settings, looks, brokers)
        if unsafe := [each.text for each in weak if each.loses]:
            what = "; ".join(unsafe)
            raise DeadLetterTopicUnsafe(f"dead-letter topic {name} would lose dead letters: {what}; alter the topic")
        said = [each.text for each in weak]
        if looks[name].configs is None:
            said.append("its settings are not visible (grant DescribeConfigs)")
        if said and said != self._said:
            extra = {"code": "dead_letter.topic_weak"}
            log.warning("dead-letter topic %s is weak: %s; going on with it", name, "; ".join(said), extra=extra)
        self._said = said

    async def _create(self, admin: Any, looks: Mapping[str, TopicLook], brokers: int) -> None:
        name, sources = self._settings.topic, self._settings.source_topics
        if missing := [topic for topic in sources if looks[topic].is_visible and not looks[topic].exists]:
            raise KafkaUnavailable(
                f"dead-letter topic {name} is not created yet: source topic {', '.join(missing)} does not exist"
            )
        await create(admin, self._settings, looks, brokers)
        log.info("created dead-letter topic %s", name, extra={"code": "dead_letter.topic_created"})


async def create(
    admin: Any,
    settings: DeadLetterSettings,
    looks: Mapping[str, TopicLook],
    brokers: int,
    *,
    only_try: bool = False,
) -> None:
    """Make the topic, as wide as the widest source topic.

    Args:
        only_try: let the broker say whether it would, and change nothing.

    Raises:
        KafkaError: the broker refuses.
    """
    wanted = settings.wanted(looks, brokers)
    configs = {"retention.ms": str(settings.retention_s * 1000 or -1), "cleanup.policy": "delete"}
    if wanted.record_bytes_max:
        configs["max.message.bytes"] = str(wanted.record_bytes_max + ADDED_BYTES_MAX)
    if wanted.replicas >= REPLICATION_MAX:
        configs["min.insync.replicas"] = str(MIN_IN_SYNC)
    topic = NewTopic(
        name=settings.topic,
        num_partitions=max([1, *(looks[topic].partitions for topic in settings.source_topics)]),
        replication_factor=wanted.replicas,
        topic_configs=configs,
    )
    for name, code, *_ in (await admin.create_topics([topic], validate_only=only_try)).topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise for_code(code)(name)
