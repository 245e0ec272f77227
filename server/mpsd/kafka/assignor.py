"""The group's assignor: what members tell each other, around the decision of `core.balance`.

One object per consumer: the library reads `name` and calls the methods, so they need not be the class methods of its
built-in assignors, which share their state between all consumers of a process.
"""

import json
import logging
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import InconsistentGroupProtocolError

from mpsd.core.balance import Claim, Member, balance
from mpsd.core.record import TopicPartition
from mpsd.ports import NOWHERE, Peer

log = logging.getLogger("mpsd.group")

VERSION = 1
"""Version of what members write for each other. Another meaning needs another `NAME`, so that the broker keeps them apart."""
NAME = f"mps-cooperative-{VERSION}"
PLAIN_BYTES_MAX = 2_048
"""Longest text that members write without compression, so that people can read it."""
UNPACKED_BYTES_MAX = 4_194_304
"""Far more than the claims of a member or the names of a thousand; whatever another program packs, no more is held."""
PACKED = b"x"
"""The first byte of a zlib stream, with which no JSON begins."""


class Group(NamedTuple):
    """The group as one member sees it.

    Attributes:
        share: this member's part of all partitions, 0 up to 1.
        peers: where the members are, as far as they have said.
    """

    share: float
    peers: list[Peer]


Assigned = Callable[[list[TopicPartition], set[TopicPartition], Group], None]


class CooperativeAssignor:
    """A sticky, balanced assignor that does not interrupt partitions that stay.

    Args:
        claims: what this member holds; asked right before each JoinGroup.
        assigned: told the partitions, those of them that must leave, and of the group; in the very step in which the
            library replaces its own assignment.
        peer: where this member can be reached.

    Attributes:
        releases: how often this member gave partitions back. The coordinator answers a member that says what it said
            before, and does not lead, with the generation that there is; a partition that it gave back and gets again
            would then keep its epoch.
    """

    name = NAME

    def __init__(
        self, claims: Callable[[], Mapping[TopicPartition, Claim]], assigned: Assigned, peer: Peer = NOWHERE
    ) -> None:
        self._claims = claims
        self._assigned = assigned
        self._peer = peer
        self.releases = 0

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Return the data that travels with the JoinGroup."""
        claims = [[tp.topic, tp.partition, claim.epoch, claim.leaving] for tp, claim in self._claims().items()]
        told = {"claims": claims, "peer": self._peer, "releases": self.releases}
        return ConsumerProtocolMemberMetadata(0, list(topics), _dump(told))

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Assign partitions to members; the library calls this on the leader only."""
        known = {
            member: Member(topics=frozenset(data.subscription), claims=_claims_of(member, data.user_data))
            for member, data in members.items()
        }
        topics = {topic for member in known.values() for topic in member.topics}
        partitions = [TopicPartition(t, p) for t in topics for p in cluster.partitions_for_topic(t) or ()]
        shares = balance(partitions, known)
        peers = sorted({peer for data in members.values() if (peer := peer_of(data.user_data)) != NOWHERE})
        return {
            member: ConsumerProtocolMemberAssignment(
                0,
                _by_topic(share.partitions),
                _dump({"leaving": sorted(map(list, share.leaving)), "total": len(partitions), "peers": peers}),
            )
            for member, share in shares.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Take this member's own assignment; the library calls this on every member.

        Raises:
            InconsistentGroupProtocolError: it is not the work of this assignor. In a group that has a member of the consumer
                protocol (KIP-848) the broker assigns partitions, and lets them move while records are in flight.
        """
        told = _own_words(assignment.user_data)
        partitions = [TopicPartition(tp.topic, tp.partition) for tp in assignment.partitions()]
        leaving = {TopicPartition(topic, partition) for topic, partition in told.get("leaving", ())}
        total = max(int(told.get("total", 0)), len(partitions), 1)
        self._assigned(partitions, leaving, Group(len(partitions) / total, _peers_of(told.get("peers"))))


def _claims_of(member: str, user_data: bytes) -> dict[TopicPartition, Claim]:
    """Return the claims of a member; none if they cannot be read, because the epochs of the others fence it."""
    try:
        told = _load(user_data)
        return {
            TopicPartition(str(topic), int(partition)): Claim(int(epoch), bool(leaving))
            for topic, partition, epoch, leaving in told.get("claims", ())
        }
    except (TypeError, ValueError) as error:
        log.warning(
            "member %s: claims cannot be read: %s; treating them as none",
            member,
            error,
            extra={"code": "group.claims_unreadable"},
        )
        return {}


def peer_of(user_data: bytes) -> Peer:
    """Return the addresses of a member; `NOWHERE` if they cannot be read."""
    try:
        peers = _peers_of([_load(user_data).get("peer")])
    except ValueError:
        return NOWHERE
    return peers[0] if peers else NOWHERE


def _peers_of(told: Any) -> list[Peer]:
    """Return the members whose addresses can be read."""
    known = told if isinstance(told, list) else []
    return [
        Peer(*each)
        for each in known
        if isinstance(each, list) and len(each) == len(NOWHERE) and all(isinstance(part, str) for part in each)
    ]


def _by_topic(partitions: Iterable[TopicPartition]) -> list[tuple[str, list[int]]]:
    topics: dict[str, list[int]] = {}
    for tp in sorted(partitions):
        topics.setdefault(tp.topic, []).append(tp.partition)
    return list(topics.items())


def _own_words(user_data: bytes) -> dict[str, Any]:
    try:
        told = _load(user_data)
    except ValueError as error:
        raise InconsistentGroupProtocolError from error
    if "version" not in told:
        raise InconsistentGroupProtocolError
    return told


def _dump(told: Mapping[str, Any]) -> bytes:
    """Write words for other members; long ones are packed.

    Each member's assignment names all members, and the broker keeps the whole group in one record of 1 MiB at most.
    """
    written = json.dumps({"version": VERSION, **told}, separators=(",", ":")).encode()
    return zlib.compress(written) if len(written) > PLAIN_BYTES_MAX else written


def _unpacked(user_data: bytes) -> bytes:
    """Return the text of member data.

    Raises:
        ValueError: the data cannot be unpacked, or is far longer than any of ours.
    """
    if user_data[:1] != PACKED:
        return user_data
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(user_data, UNPACKED_BYTES_MAX)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not inflate.eof:
        raise ValueError("cut off, or too long")
    return text


def _load(user_data: bytes) -> dict[str, Any]:
    """Return the fields of member data.

    Raises:
        ValueError: the data is of another program.
    """
    told = json.loads(_unpacked(user_data) or b"{}")
    if not isinstance(told, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - malformed words are a value, not a type, to the caller
    return told
