"""Partitions that no answering daemon lists: Kafka reports their owners and their lag."""

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.calls import Call
from mpsd.admin.daemon import GroupPosition, Members, Steerable
from mpsd.admin.wire import SEVERITIES, state_of
from mpsd.core.pauses import Scope
from mpsd.core.record import TopicPartition
from mpsd.core.states import DeliveryState, Situation, summarize
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.pipeline.pipeline import Pipeline
from mpsd.ports import NOWHERE, Peer

LOOKUP_S_MAX = 2.0
"""Beyond the time that the daemons themselves were given."""
KEPT_S = 5.0
"""Time for which an answer is good: who watches the status asks each second, and a look is a connection to Kafka.

An answer is good for the same question only: when another daemon is silent or another partition is missing, Kafka is asked again.
"""

Answer = TypeVar("Answer")
Heard = Mapping[str, Collection[TopicPartition]]
"""The partitions that daemons list which answered, by subscription."""
Missing = Mapping[str, Sequence[pb.PartitionStatus]]
"""The partitions that none of them lists, by subscription."""


class _Known(NamedTuple):
    """The state of a group, as Kafka reports it.

    Attributes:
        asked_s: when Kafka was asked, on the monotonic clock.
        reason: the missing partitions and the silent daemons for which it was asked.
        members: None: Kafka did not answer.
        positions: of every partition; empty: Kafka did not answer.
        problem: why the owners are not known; empty: they are.
    """

    asked_s: float
    reason: object
    members: Members | None
    positions: Mapping[TopicPartition, GroupPosition]
    problem: str


class MissingPartitions:
    """A lookup of the partitions that no answering daemon lists.

    Holds at most: one answer for each group.
    """

    def __init__(self, daemon: Steerable) -> None:
        self._daemon = daemon
        self._known: dict[str, _Known] = {}

    async def look_up(
        self,
        pipelines: Collection[Pipeline],
        heard: Heard,
        silent: Sequence[pb.Instance],
        call: Call,
        scope: Scope | None = None,
    ) -> Missing:
        """Return the partitions that are missing, in order, with what Kafka knows of them.

        Args:
            scope: only partitions within it; None: all.
            silent: daemons that did not answer; where Kafka does not say what they have, their problem does.
        """
        wait_s = call.within_s(LOOKUP_S_MAX)
        found: dict[str, Sequence[pb.PartitionStatus]] = {}
        problems = []
        for pipeline in pipelines:
            listed = set(heard.get(pipeline.settings.name, ()))
            known_topics = pipeline.topics().items()
            expected = {TopicPartition(topic, number) for topic, count in known_topics for number in range(count)}
            expected = {tp for tp in expected if scope is None or scope.covers(tp)}
            if silent or not expected <= listed:
                reason = frozenset(expected - listed), frozenset(instance.id for instance in silent)
                known = await self._ask(pipeline.settings.sender.group, reason, wait_s)
                found[pipeline.settings.name] = _missing(expected, listed, silent, known)
                problems.append(known.problem)
        if problem := next(filter(None, problems), ""):
            for instance in silent:
                instance.problem += f"; which partitions it has is not known: {problem}"
        return found

    async def _ask(self, group: str, reason: object, wait_s: float) -> _Known:
        now_s = self._daemon.clock.monotonic_s()
        known = self._known.get(group)
        if known is not None and known.reason == reason and now_s - known.asked_s < KEPT_S:
            return known
        (members, problem), (positions, _) = await asyncio.gather(
            _bounded(self._daemon.members(group), wait_s), _bounded(self._daemon.positions(group), wait_s)
        )
        if members is not None and not members.is_stable:
            problem = "the group is rebalancing"
        known = _Known(now_s, reason, members, positions or {}, problem)
        if not problem:
            self._known[group] = known
        return known


async def _bounded(asked: Coroutine[Any, Any, Answer], wait_s: float) -> tuple[Answer | None, str]:
    """Return the answer, or None and why there is none."""
    try:
        async with asyncio.timeout(wait_s):
            return await asked, ""
    except (TimeoutError, KafkaUnavailable, KafkaRefused) as error:
        return None, str(error) or "Kafka did not answer in time"


def _missing(
    expected: Collection[TopicPartition],
    listed: Collection[TopicPartition],
    silent: Sequence[pb.Instance],
    known: _Known,
) -> list[pb.PartitionStatus]:
    assigned = known.members.assigned if known.members is not None and not known.problem else ()
    owners = {tp: peer for peer, partitions in assigned for tp in partitions}
    problems = {instance.id: instance.problem for instance in silent}
    lacking = sorted({*expected, *(tp for tp, owner in owners.items() if owner.instance in problems)} - {*listed})
    return [_status(tp, owners.get(tp, NOWHERE), problems, known) for tp in lacking]


def _situation(owner: Peer, problems: Mapping[str, str], known: _Known) -> Situation:
    """Return what is the matter with a partition that no daemon lists which answered."""
    if owner != NOWHERE and owner.instance in problems:
        return Situation(DeliveryState.UNKNOWN, f"the daemon that has it does not answer: {problems[owner.instance]}")
    if owner != NOWHERE:
        return Situation(DeliveryState.STARTING, "its daemon looks up where to begin")
    is_rebalancing = known.members is not None and not known.members.is_stable
    if is_rebalancing and not problems:
        return Situation(DeliveryState.STARTING, "no daemon has it now: the group is rebalancing")
    if known.problem:
        words = f"no daemon that answers has it; which one does is not known: {known.problem}"
        return Situation(DeliveryState.UNKNOWN, words)
    return Situation(DeliveryState.UNKNOWN, "no daemon has it")


def _status(tp: TopicPartition, owner: Peer, problems: Mapping[str, str], known: _Known) -> pb.PartitionStatus:
    situation = _situation(owner, problems, known)
    committed, log_end = known.positions.get(tp, (-1, -1))
    return pb.PartitionStatus(
        topic=tp.topic,
        partition=tp.partition,
        instance=owner.admin,
        state=situation.state.value,
        state_severity=SEVERITIES[situation.state.severity],
        state_reason=situation.reason,
        next_offset=committed,
        log_end=log_end,
        lag_records=max(0, log_end - committed) if committed >= 0 and log_end >= 0 else None,
    )


def heard_of(answers: Iterable[pb.Status]) -> Heard:
    """Return what the daemons list that gave these answers."""
    heard: dict[str, list[TopicPartition]] = {}
    for answer in answers:
        for said in answer.subscriptions:
            heard.setdefault(said.name, []).extend(listed(said.partitions))
    return heard


def listed(partitions: Iterable[pb.PartitionStatus]) -> list[TopicPartition]:
    """Return the names of partitions."""
    return [partition_name(part) for part in partitions]


def partition_name(part: pb.PartitionStatus) -> TopicPartition:
    return TopicPartition(part.topic, part.partition)


def add_missing(said: pb.SubscriptionStatus, missing: Sequence[pb.PartitionStatus]) -> None:
    """Let a subscription's state and lag say what its missing partitions do, and count what its sums lack."""
    named = ((f"{part.topic}/{part.partition}", Situation(state_of(part.state), part.state_reason)) for part in missing)
    own = Situation(state_of(said.state), said.state_reason)
    situation = summarize([own], named)
    if situation is not own:
        said.state, said.state_reason = situation.state.value, situation.reason
        said.state_severity = SEVERITIES[situation.state.severity]
    said.flow.lag_records += sum(part.lag_records for part in missing)
    said.missing_partitions = len(missing)
    said.lag_missing_partitions = sum(not part.HasField("lag_records") for part in missing)
    said.partitions.extend(missing)
    said.partitions.sort(key=lambda part: (part.topic, part.partition))


def count_states(said: pb.SubscriptionStatus) -> None:
    """Count the partitions in each state, the worst first."""
    counts: dict[str, pb.StateCount] = {}
    for part in said.partitions:
        count = counts.setdefault(part.state, pb.StateCount(state=part.state, severity=part.state_severity))
        count.partitions += 1
    del said.partition_states[:]
    said.partition_states.extend(sorted(counts.values(), key=lambda each: -state_of(each.state).rank))
