"""Transactions that are open: what partitions wait for, and whose they are."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.offset import OffsetRequest

from mpsd.core.record import TopicPartition
from mpsd.kafka.connection import asking, start
from mpsd.kafka.protocol import Metadata, Producers

TIMEOUT_S = 15.0
LOOK_AGAIN_S = 1.0
"""A transaction that is through by then held nobody up."""
_LATEST, _ALL, _COMMITTED = -1, 0, 1
_NOT_OPEN = -1


class Producer(NamedTuple):
    """Who has a transaction open.

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


async def open_transactions(options: Mapping[str, Any], topics: Sequence[str]) -> list[OpenTransaction]:
    """Look for partitions that wait for a transaction; topics that cannot be seen are left out.

    Raises:
        KafkaUnavailable, KafkaRefused: it could not be looked up.
    """
    admin = AIOKafkaAdminClient(**options)
    try:
        with asking("look for open transactions"):
            async with asyncio.timeout(TIMEOUT_S):
                await start(admin, options)
                leaders = await _leaders(admin, topics)
                first = await _waiting(admin, leaders)
                if not first:
                    return []
                await asyncio.sleep(LOOK_AGAIN_S)
                again = await _waiting(admin, {tp: leaders[tp] for tp in first})
                still = {tp: ends for tp, ends in again.items() if ends[0] == first[tp][0]}
                return [
                    OpenTransaction(tp, *ends, await _producers(admin, leaders[tp], tp)) for tp, ends in still.items()
                ]
    finally:
        await admin.close()


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
