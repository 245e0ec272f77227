"""Looks at a cluster and at a group, for operators: each call connects, asks and disconnects."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    IncompatibleBrokerVersion,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.offset import OffsetRequest

from mpsd.config import Subscription
from mpsd.core.incarnation import Incarnation
from mpsd.core.record import TopicPartition
from mpsd.core.resets import Move, To
from mpsd.errors import KafkaUnavailable
from mpsd.kafka.assignor import peer_of
from mpsd.kafka.connection import Options, admin_client, asking, asking_within, existing_topics, start
from mpsd.kafka.consumer import stop
from mpsd.kafka.dead_letters import create
from mpsd.kafka.internal_topics import InternalTopic
from mpsd.kafka.protocol import GroupRights, Metadata, Producers, rights
from mpsd.kafka.topic_look import TopicLook, incarnations, look_at
from mpsd.ports import NOWHERE, CommitPoint, Peer

TIMEOUT_S = 15.0
COORDINATOR_REST_S = 0.2
NOT_YET = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)
"""The first group of a cluster waits until the coordinators' topic is made."""


class Cluster:
    """A connection to a cluster, for `async with`; each call fails with KafkaUnavailable or KafkaRefused within `TIMEOUT_S`."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._admin = AIOKafkaAdminClient(**options)
        self.brokers = 0

    async def __aenter__(self) -> Self:
        try:
            async with asking_within("connect to Kafka", TIMEOUT_S):
                await start(self._admin, self._options)
                self.brokers = len((await self._admin.describe_cluster())["brokers"])
        except BaseException:
            await self._admin.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._admin.close()

    async def look(self, names: Sequence[str]) -> dict[str, TopicLook]:
        """Look at topics, each as far as the user may see it."""
        async with asking_within("look at topics", TIMEOUT_S):
            return await look_at(self._admin, names)

    async def try_to_create(self, subscription: Subscription, looks: Mapping[str, TopicLook]) -> None:
        """Ask the broker to validate the creation of the dead-letter topic; nothing is created."""
        async with asking_within(f"create dead-letter topic {subscription.dead_letter.topic}", TIMEOUT_S):
            await create(self._admin, subscription, looks, self.brokers, only_try=True)

    async def try_to_make(self, topic: InternalTopic) -> None:
        """Ask the broker to validate the creation of an internal topic; nothing is created."""
        async with asking_within(f"create topic {topic.name}", TIMEOUT_S):
            await topic.create(self._admin, only_try=True)

    async def group_rights(self, group: str) -> frozenset[str] | None:
        """Return the operations on the group that the user is allowed; None where the broker is too old to say."""
        async with asking_within(f"look at group {group}", TIMEOUT_S):
            while True:
                with suppress(*NOT_YET):
                    return await self._group_rights(group)
                await asyncio.sleep(COORDINATOR_REST_S)

    async def _group_rights(self, group: str) -> frozenset[str] | None:
        try:
            answer = await self._admin._send_request(GroupRights(group), await self._admin.find_coordinator(group))
        except (IncompatibleBrokerVersion, NotImplementedError):
            return None
        (described,) = answer.to_object()["groups"]
        if described["error_code"]:
            raise for_code(described["error_code"])(group)
        return rights(described["authorized_operations"])

    async def weaknesses(self, topic: InternalTopic) -> list[str] | None:
        """Return the weak settings of an internal topic; None if the topic does not exist."""
        async with asking_within(f"look at topic {topic.name}", TIMEOUT_S):
            return await topic.look(self._admin)

    async def incarnations(self, topics: Collection[str]) -> dict[str, Incarnation]:
        """Return which topics those of the names are now, without those that do not exist."""
        async with asking_within("look up topics", TIMEOUT_S):
            return await incarnations(self._admin, topics) if topics else {}

    async def committed(self, group: str) -> dict[TopicPartition, CommitPoint]:
        """Return offset and metadata that the group has committed of each partition."""
        async with asking_within(f"look up what group {group} has committed", TIMEOUT_S):
            answer = await self._admin.list_consumer_group_offsets(group)
        return {
            TopicPartition(*tp): CommitPoint(offset, metadata or "")
            for tp, (offset, metadata) in answer.items()
            if offset >= 0
        }


LOOK_TIMEOUT_S = 10.0


@asynccontextmanager
async def _group_look(options: Options, timeout_s: float) -> AsyncIterator[tuple[Any, Any]]:
    """Connect an admin client and a consumer outside of any group, for a block that ends within the time."""
    async with admin_client(options, timeout_s) as admin:
        consumer = AIOKafkaConsumer(**options, enable_auto_commit=False)
        try:
            await consumer.start()
            yield admin, consumer
        finally:
            await stop(consumer)


async def group_positions(options: Options, group: str, topics: Sequence[str]) -> dict[TopicPartition, tuple[int, int]]:
    """Return the committed offset, -1 for none, and the log end of every partition of the topics that exist.

    Raises:
        KafkaUnavailable, KafkaRefused: they could not be looked up.
    """
    with asking(f"look up how far group {group} is"):
        async with _group_look(options, LOOK_TIMEOUT_S) as (admin, consumer):
            found = sorted(await existing_topics(admin, topics))
            keys = _partitions(await admin.describe_topics(found) if found else [])
            committed = await admin.list_consumer_group_offsets(group)
            ends = await consumer.end_offsets(keys) if keys else {}
    return {TopicPartition(*key): (committed[key].offset if key in committed else -1, ends[key]) for key in keys}


STABLE = "Stable"


class Described(NamedTuple):
    """A group.

    Attributes:
        state: as Kafka names it; only in `Stable` do members' own words, and what they were given, come with them.
        members: where each is, and what it was given in the last rebalance.
    """

    state: str
    members: list[tuple[Peer, list[TopicPartition]]]


async def members(options: Options, group: str) -> Described:
    """Return the members of a group, as its coordinator knows them now.

    Raises:
        KafkaUnavailable, KafkaRefused: it could not be asked.
    """
    with asking(f"list the members of group {group}"):
        async with admin_client(options, LOOK_TIMEOUT_S) as admin:
            (answer,) = await admin.describe_consumer_groups([group])
            described = answer.to_object()["groups"][0]
            if described["error_code"]:
                raise for_code(described["error_code"])(group)
    found = [(_peer(each["member_metadata"]), _assigned(each["member_assignment"])) for each in described["members"]]
    return Described(described["state"], found)


def _peer(metadata: bytes | None) -> Peer:
    if not metadata:
        return NOWHERE
    try:
        return peer_of(ConsumerProtocolMemberMetadata.decode(metadata).user_data or b"")
    except (ValueError, TypeError, IndexError) as error:  # the library's decoder has no error of its own
        del error
        return NOWHERE


def _assigned(assignment: bytes | None) -> list[TopicPartition]:
    if not assignment:
        return []
    try:
        given = ConsumerProtocolMemberAssignment.decode(assignment).partitions()
    except (ValueError, TypeError, IndexError) as error:  # as above
        del error
        return []
    return [TopicPartition(each.topic, each.partition) for each in given]


async def moves(options: Options, group: str, topics: Sequence[str], to: To) -> dict[TopicPartition, Move]:
    """Return the moves that a reset of the group would make, offsets beyond the log moved to its nearest edge.

    Partitions that are named and not there are left out.

    Raises:
        KafkaUnavailable, KafkaRefused: it could not be looked up, or a topic is missing.
    """
    with asking(f"look up where a reset would take group {group}"):
        async with _group_look(options, TIMEOUT_S) as (admin, consumer):
            if missing := set(topics) - await existing_topics(admin, topics):
                raise KafkaUnavailable(f"topic {', '.join(sorted(missing))} does not exist")
            keys = _partitions(await admin.describe_topics(list(topics)))
            committed = await admin.list_consumer_group_offsets(group)
            starts, ends = await consumer.beginning_offsets(keys), await consumer.end_offsets(keys)
            wanted = await _wanted(consumer, keys, to, starts, ends)
    return {
        TopicPartition(*key): Move(
            committed=committed[key].offset if key in committed else -1,
            to=min(max(wanted[key], starts[key]), ends[key]),
            log_start=starts[key],
            log_end=ends[key],
        )
        for key in keys
        if key in wanted
    }


async def _wanted(
    consumer: Any, keys: Sequence[Any], to: To, starts: Mapping[Any, int], ends: Mapping[Any, int]
) -> Mapping[Any, int]:
    match to:
        case "earliest":
            return starts
        case "latest":
            return ends
        case datetime():
            found = await consumer.offsets_for_times(dict.fromkeys(keys, int(to.timestamp() * 1000)))
            return {key: ends[key] if found.get(key) is None else found[key].offset for key in keys}
        case _:
            return {key: to[TopicPartition(*key)] for key in keys if TopicPartition(*key) in to}


LOOK_AGAIN_S = 1.0
"""A transaction that is through by then held nobody up."""
_LATEST, _ALL, _COMMITTED = -1, 0, 1
_NOT_OPEN = -1


class Producer(NamedTuple):
    """A producer that has a transaction open.

    Attributes:
        start: the first offset of the transaction in this partition.
        wrote_at_ms: when it last wrote.
    """

    id: int
    epoch: int
    start: int
    wrote_at_ms: int


class OpenTransaction(NamedTuple):
    """A partition of which not all can be read.

    Attributes:
        producers: those that have a transaction open in it; empty where the broker does not say.
    """

    tp: TopicPartition
    stable_end: int
    log_end: int
    producers: Sequence[Producer]


async def open_transactions(options: Options, topics: Sequence[str]) -> list[OpenTransaction]:
    """Look for partitions that wait for a transaction; topics that cannot be seen are left out.

    Raises:
        KafkaUnavailable, KafkaRefused: it could not be looked up.
    """
    with asking("look for open transactions"):
        async with admin_client(options, TIMEOUT_S) as admin:
            leaders = await _leaders(admin, topics)
            first = await _waiting(admin, leaders)
            if not first:
                return []
            await asyncio.sleep(LOOK_AGAIN_S)
            again = await _waiting(admin, {tp: leaders[tp] for tp in first})
            still = {tp: ends for tp, ends in again.items() if ends[0] == first[tp][0]}
            return [OpenTransaction(tp, *ends, await _producers(admin, leaders[tp], tp)) for tp, ends in still.items()]


async def _leaders(admin: Any, topics: Sequence[str]) -> dict[TopicPartition, int]:
    answer = await admin._send_request(Metadata(topics))
    return {
        TopicPartition(topic["name"], each["partition"]): each["leader"]
        for topic in answer.to_object()["topics"]
        for each in topic["partitions"]
        if each["leader"] >= 0
    }


async def _waiting(admin: Any, leaders: Mapping[TopicPartition, int]) -> dict[TopicPartition, tuple[int, int]]:
    """Return the stable end and the end of those partitions where they differ."""
    stable, ends = await _ends(admin, leaders, _COMMITTED), await _ends(admin, leaders, _ALL)
    return {tp: (end, ends[tp]) for tp, end in stable.items() if end < ends.get(tp, end)}


async def _ends(admin: Any, leaders: Mapping[TopicPartition, int], isolation: int) -> dict[TopicPartition, int]:
    asked: defaultdict[int, defaultdict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for tp, node in leaders.items():
        asked[node][tp.topic].append((tp.partition, _LATEST))
    found = {}
    for node, topics in asked.items():
        answer = await admin._send_request(OffsetRequest(-1, isolation, list(topics.items())), node)
        for topic, partitions in answer.topics:
            found.update({TopicPartition(topic, number): offset for number, code, _, offset in partitions if not code})
    return found


async def _producers(admin: Any, node: int, tp: TopicPartition) -> list[Producer]:
    try:
        answer = await admin._send_request(Producers(tp.topic, tp.partition), node)
    except (IncompatibleBrokerVersion, NotImplementedError):
        return []
    ((_, ((_, code, _, producers, *_), *_), *_), *_) = answer.topics
    if code:
        return []
    active = [Producer(number, epoch, begun, wrote) for number, epoch, _, wrote, _, begun, *_ in producers]
    return [each for each in active if each.start != _NOT_OPEN]


def _partitions(described: Iterable[Mapping[str, Any]]) -> list[ClientPartition]:
    """Return the partitions of described topics."""
    return [ClientPartition(topic["topic"], each["partition"]) for topic in described for each in topic["partitions"]]
