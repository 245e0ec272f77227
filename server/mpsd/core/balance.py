"""The assignment of partitions: sticky, balanced over all topics, one step of a cooperative rebalance.

A partition that must move stays with its owner for one more generation, marked as leaving: the owner drains it, commits
it and drops its claim, and in the next generation it is free and goes to where it was meant to go. So a partition has two
owners at no time, and none that stays is touched.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mpsd.core.record import TopicPartition


class Claim(NamedTuple):
    """A member's statement about a partition that it holds.

    Attributes:
        epoch: generation in which it acquired it; of two claims the later one is true.
        leaving: it is draining it already.
    """

    epoch: int
    leaving: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """The data that a member sends when it joins the group."""

    topics: frozenset[str]
    claims: Mapping[TopicPartition, Claim]


@dataclass(slots=True)
class Share:
    """A member's assignment: all of `partitions`, of which `leaving` are to be drained."""

    partitions: set[TopicPartition] = field(default_factory=set)
    leaving: set[TopicPartition] = field(default_factory=set)


def balance(partitions: Collection[TopicPartition], members: Mapping[str, Member]) -> dict[str, Share]:
    """Shares for all members. Deterministic; cost about partitions times members at the worst.

    Args:
        partitions: of all topics that anyone subscribes to.
        members: by id.
    """
    shares = {member: Share() for member in sorted(members)}
    tally = _Tally(shares)
    holders = _holders(partitions, members)
    for tp, member in holders.items():
        shares[member].partitions.add(tp)
        tally.add(member, tp.topic)
    for tp in sorted(set(partitions) - set(holders), key=lambda tp: (tp.partition, tp.topic)):
        takers = [member for member in shares if tp.topic in members[member].topics]
        if takers:
            member = min(takers, key=lambda member: tally.load(member, tp.topic))
            shares[member].partitions.add(tp)
            tally.add(member, tp.topic)
    for giver in sorted(shares, key=lambda member: (-tally.counts[member], member)):
        _mark_leaving(giver, shares[giver], members, tally)
    return shares


class _Tally:
    """Numbers of partitions that each member will have, in all and of each topic, once the leaving ones have left."""

    def __init__(self, members: Iterable[str]) -> None:
        self.counts = Counter(dict.fromkeys(members, 0))
        self.topics = {member: Counter[str]() for member in self.counts}

    def add(self, member: str, topic: str, change: int = 1) -> None:
        self.counts[member] += change
        self.topics[member][topic] += change

    def load(self, member: str, topic: str) -> tuple[int, int, str]:
        """Return the member's load; the member with the smallest takes the next partition of the topic."""
        return self.counts[member], self.topics[member][topic], member


def _holders(partitions: Collection[TopicPartition], members: Mapping[str, Member]) -> dict[TopicPartition, str]:
    """Return the valid claims: for each existing partition the latest one by a member that still wants it."""
    existing, holders = set(partitions), dict[TopicPartition, str]()
    for member in sorted(members):
        for tp, claim in members[member].claims.items():
            if tp not in existing or tp.topic not in members[member].topics:
                continue
            other = holders.get(tp)
            if other is None or claim.epoch > members[other].claims[tp].epoch:
                holders[tp] = member
    return holders


def _mark_leaving(giver: str, share: Share, members: Mapping[str, Member], tally: _Tally) -> None:
    """Let partitions leave while the giver has two more than a member that could take one."""
    claims = members[giver].claims
    movable: dict[str, list[TopicPartition]] = {}
    for tp in sorted(share.partitions & claims.keys(), key=lambda tp: (claims[tp].leaving, -tp.partition)):
        movable.setdefault(tp.topic, []).append(tp)  # from its end, so that what drains already goes first
    while True:
        takers = [
            m for m in tally.counts if tally.counts[giver] - tally.counts[m] >= 2 and members[m].topics & movable.keys()
        ]
        if not takers:
            return
        taker = min(takers, key=lambda member: (tally.counts[member], member))
        topic = max(
            sorted(members[taker].topics & movable.keys()),
            key=lambda topic: (
                claims[movable[topic][-1]].leaving,
                tally.topics[giver][topic] - tally.topics[taker][topic],
            ),
        )
        share.leaving.add(movable[topic].pop())
        if not movable[topic]:
            del movable[topic]
        tally.add(giver, topic, -1)
        tally.add(taker, topic)
