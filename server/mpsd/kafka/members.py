"""Who is in a group, as its coordinator knows it now; the members know each other only as of the last rebalance."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import for_code

from mpsd.core.record import TopicPartition
from mpsd.kafka.assignor import peer_of
from mpsd.kafka.connection import asking, start
from mpsd.ports import NOWHERE, Peer

TIMEOUT_S = 10.0
STABLE = "Stable"


class Described(NamedTuple):
    """A group.

    Attributes:
        state: as Kafka names it; only in `Stable` do members' own words, and what they were given, come with them.
        members: where each is, and what it was given in the last rebalance.
    """

    state: str
    members: list[tuple[Peer, list[TopicPartition]]]


async def members(options: Mapping[str, Any], group: str) -> Described:
    """Ask the coordinator.

    Raises:
        KafkaUnavailable, KafkaRefused: it could not be asked.
    """
    admin = AIOKafkaAdminClient(**options)
    try:
        with asking(f"list the members of group {group}"):
            async with asyncio.timeout(TIMEOUT_S):
                await start(admin, options)
                (answer,) = await admin.describe_consumer_groups([group])
                described = answer.to_object()["groups"][0]
                if described["error_code"]:
                    raise for_code(described["error_code"])(group)
    finally:
        await admin.close()
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
