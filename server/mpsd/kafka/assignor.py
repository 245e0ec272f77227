"""The group's assignor: what members tell each other, around the decision of `core.balance`.

One object per consumer: the library reads `name` and calls the methods, so they need not be the class methods of its
built-in assignors, which share their state between all consumers of a process.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from mpsd.core.balance import Claim, Member, balance
from mpsd.core.record import TopicPartition

log = logging.getLogger("mpsd.group")

VERSION = 1
"""Of what members write for each other. Another meaning needs another `NAME`, so that the broker keeps them apart."""
NAME = f"mps-cooperative-{VERSION}"

Assigned = Callable[[list[TopicPartition], set[TopicPartition], float], None]


class CooperativeAssignor:
    """Sticky, balanced, and without a stop of what stays.

    Args:
        claims: what this member holds; asked right before each JoinGroup.
        assigned: told the partitions, those of them that must leave, and this member's share of all, 0 up to 1; in the
            very step in which the library replaces its own assignment.
    """

    name = NAME

    def __init__(self, claims: Callable[[], Mapping[TopicPartition, Claim]], assigned: Assigned, address: str) -> None:
        self._claims = claims
        self._assigned = assigned
        self._address = address

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What travels with the JoinGroup."""
        claims = [[tp.topic, tp.partition, claim.epoch, claim.leaving] for tp, claim in self._claims().items()]
        return ConsumerProtocolMemberMetadata(0, list(topics), _dump({"claims": claims, "address": self._address}))

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Called on the leader only."""
        known = {
            member: Member(topics=frozenset(data.subscription), claims=_claims_of(member, data.user_data))
            for member, data in members.items()
        }
        topics = {topic for member in known.values() for topic in member.topics}
        partitions = [TopicPartition(t, p) for t in topics for p in cluster.partitions_for_topic(t) or ()]
        shares = balance(partitions, known)
        return {
            member: ConsumerProtocolMemberAssignment(
                0,
                _by_topic(share.partitions),
                _dump({"leaving": sorted(map(list, share.leaving)), "total": len(partitions)}),
            )
            for member, share in shares.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Called on every member with its own."""
        told = _load(assignment.user_data)
        partitions = [TopicPartition(tp.topic, tp.partition) for tp in assignment.partitions()]
        leaving = {TopicPartition(topic, partition) for topic, partition in told.get("leaving", ())}
        total = max(int(told.get("total", 0)), len(partitions), 1)
        self._assigned(partitions, leaving, len(partitions) / total)


def _claims_of(member: str, user_data: bytes) -> dict[TopicPartition, Claim]:
    """A member whose words are not understood holds nothing: it is fenced by the epochs of those who do."""
    try:
        told = _load(user_data)
        return {
            TopicPartition(str(topic), int(partition)): Claim(int(epoch), bool(leaving))
            for topic, partition, epoch, leaving in told.get("claims", ())
        }
    except (TypeError, ValueError) as error:
        log.warning(
            "member %s: its claims cannot be read: %s", member, error, extra={"code": "group.claims_unreadable"}
        )
        return {}


def _by_topic(partitions: Iterable[TopicPartition]) -> list[tuple[str, list[int]]]:
    topics: dict[str, list[int]] = {}
    for tp in sorted(partitions):
        topics.setdefault(tp.topic, []).append(tp.partition)
    return list(topics.items())


def _dump(told: Mapping[str, Any]) -> bytes:
    return json.dumps({"version": VERSION, **told}, separators=(",", ":")).encode()


def _load(user_data: bytes) -> dict[str, Any]:
    """Raises ValueError: it is none of ours."""
    told = json.loads(user_data or b"{}")
    if not isinstance(told, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - malformed words are a value, not a type, to the caller
    return told
