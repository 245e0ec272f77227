"""Topics that the daemon keeps for itself: created, checked, and written with an acknowledgement of all replicas."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from mpsd.errors import ControlUnavailable, MpsError
from mpsd.kafka.connection import asking, start
from mpsd.kafka.topic_look import look_at
from mpsd.ports import ControlRecord

log = logging.getLogger("mpsd.control")


REPLICATION_MAX = 3
MIN_IN_SYNC = 2


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
        topic = NewTopic(name=self.name, num_partitions=1, replication_factor=replicas, topic_configs=configs)
        for name, code, *_ in (await admin.create_topics([topic], validate_only=only_try)).topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(name)

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


CLOSE_TIMEOUT_S = 3.0


class AckedProducer:
    """A producer for partition 0 of a topic, which connects when there is something to write.

    The library's idempotent producer tries again for ever. So one that has not answered in time is thrown away with what
    it had to write, which may then be there or not: whoever asks again reads first.

    Holds at most: what was brought to `write` and not answered.
    """

    def __init__(self, topic: str, timeout_s: float, options: Mapping[str, Any]) -> None:
        self._topic = topic
        self._timeout_s = timeout_s
        self._options = options
        self._producer: Any = None
        self._connecting = asyncio.Lock()

    async def write(self, records: Sequence[ControlRecord]) -> int:
        """Append records in order; return the offset of the last.

        Raises:
            ControlUnavailable: it may be written or not.
        """
        try:
            with asking(f"write to {self._topic}"):
                async with asyncio.timeout(self._timeout_s):
                    producer = await self._connected()
                    sent = [
                        await producer.send(self._topic, r.value, r.key, partition=0, headers=list(r.headers))
                        for r in records
                    ]
                    answers = await asyncio.gather(*sent)
        except MpsError as error:
            await self.close()
            words = f"{error}; the record may be written or not: ask again with the same request id"
            raise ControlUnavailable(words) from error
        return max((int(answer.offset) for answer in answers), default=-1)

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._options, acks="all", enable_idempotence=True, request_timeout_ms=int(self._timeout_s * 1000)
                )
                try:
                    await start(producer, self._options)
                except BaseException:
                    await _abandon(producer)
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        """Disconnect; what has not been acknowledged is given up."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(TimeoutError, KafkaError, OSError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await _abandon(producer)


async def _abandon(producer: Any) -> None:
    """Disconnect at once; `stop` would wait for what the broker does not acknowledge, and leave it being sent for ever."""
    producer._closed = True
    await producer._sender.close()
    await producer.client.close()
