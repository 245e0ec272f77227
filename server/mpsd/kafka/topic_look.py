"""Looks at topics: settings, replicas, rights and ids, each as far as the user may see it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    BrokerResponseError,
    IncompatibleBrokerVersion,
    NodeNotReadyError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from mpsd.core.incarnation import Incarnation
from mpsd.core.topic_durability import TopicSettings
from mpsd.kafka.protocol import NO_ID, Metadata, rights


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLook:
    """A topic as the user sees it.

    Attributes:
        is_visible: False: the user may not describe it, so that not even its existence is known.
        partitions: 0: the topic does not exist, or is not visible.
        rights: operations that the user is allowed; None where the broker is too old to say.
        configs: settings by name; None where the user may not see them.
    """

    name: str
    is_visible: bool = True
    partitions: int = 0
    replicas: int = 0
    rights: frozenset[str] | None = None
    configs: Mapping[str, str] | None = None

    @property
    def exists(self) -> bool:
        return self.partitions > 0

    @property
    def settings(self) -> TopicSettings:
        """Return what is known of the settings."""
        return TopicSettings(
            replicas=self.replicas,
            min_in_sync=self.number("min.insync.replicas"),
            cleanup_policy=None if self.configs is None else self.configs.get("cleanup.policy"),
            retention_ms=self.number("retention.ms"),
            retention_bytes=self.number("retention.bytes"),
            max_message_bytes=self.number("max.message.bytes"),
        )

    def number(self, setting: str) -> int | None:
        """Return a setting that is a number."""
        value = (self.configs or {}).get(setting)
        return None if value is None else int(value)


async def look_at(admin: Any, names: Sequence[str]) -> dict[str, TopicLook]:
    """Look at topics by name; a topic that is missing or forbidden does not hide the others, and none is created.

    Raises:
        KafkaError: as the library does.
    """
    if not names:
        return {}
    found = {topic["name"]: topic for topic in await _metadata(admin, names)}
    existing = [name for name in names if not found[name]["error_code"] or found[name]["partitions"]]
    configs = await _configs(admin, existing)
    return {name: _look(name, found[name], configs.get(name)) for name in names}


def _look(name: str, topic: Mapping[str, Any], configs: Mapping[str, str] | None) -> TopicLook:
    error = for_code(topic["error_code"])
    if error is TopicAuthorizationFailedError:
        return TopicLook(name=name, is_visible=False)
    if error is UnknownTopicOrPartitionError:
        return TopicLook(name=name)
    if not topic["partitions"] and issubclass(error, BrokerResponseError):
        raise error(name)
    return TopicLook(
        name=name,
        partitions=len(topic["partitions"]),
        replicas=min((len(partition["replicas"]) for partition in topic["partitions"]), default=0),
        rights=rights(topic["authorized_operations"]),
        configs=configs,
    )


async def _metadata(admin: Any, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    try:
        answer = await admin._send_request(Metadata(names, with_rights=True))
    except (IncompatibleBrokerVersion, NotImplementedError):
        answer = await admin._send_request(MetadataRequest(list(names), allow_auto_topic_creation=False))
        old = answer.to_object()["topics"]
        return [{**topic, "name": topic["topic"], "authorized_operations": -(1 << 31)} for topic in old]
    return list(answer.to_object()["topics"])


async def _configs(admin: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the settings of those topics that show them."""
    if not names:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    shown = [resource for answer in answers for resource in answer.resources if not resource[0]]
    return {resource[3]: {entry[0]: entry[1] for entry in resource[4]} for resource in shown}


async def topic_ids(client: Any, topics: Collection[str]) -> dict[str, bytes]:
    """Return the ids of those topics that are there; none where the broker knows no ids.

    Args:
        client: a consumer, producer or admin client of the library.

    Raises:
        KafkaError: as the library does.
    """
    if not topics or client._client.get_random_node() is None:
        return {}
    found = await incarnations(client, topics)
    return {name: incarnation.topic_id for name, incarnation in found.items() if incarnation.topic_id}


async def incarnations(client: Any, topics: Collection[str]) -> dict[str, Incarnation]:
    """Return the incarnations of those topics that the broker asked knows.

    A broker that knows no ids is asked for the cluster's alone, and all topics are said to be there.

    Args:
        client: as for `topic_ids`.

    Raises:
        KafkaError: as the library does.
    """
    if (node := client._client.get_random_node()) is None:
        raise NodeNotReadyError("no broker is known")
    try:
        answer = (await client._client.send(node, Metadata(topics))).to_object()
    except (IncompatibleBrokerVersion, NotImplementedError):
        answer = (await client._client.send(node, MetadataRequest([], False))).to_object()
        return dict.fromkeys(topics, Incarnation(cluster_id=answer.get("cluster_id") or ""))
    cluster_id = answer["cluster_id"] or ""
    return {
        topic["name"]: Incarnation(b"" if topic["id"] == NO_ID else topic["id"], cluster_id)
        for topic in answer["topics"]
        if topic["id"] != NO_ID or not topic["error_code"]  # a topic without a leader has an error and an id
    }
