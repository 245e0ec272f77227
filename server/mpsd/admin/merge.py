"""Answers of many instances, made one. Pure: who was asked, and how, is `fleet`'s."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.states import state_of


class Place(NamedTuple):
    """Where a lane stands in the order in which lanes are listed: by the time its head was read, then by the head."""

    read_at_us: int
    topic: str
    partition: int
    offset: int


def place_of(lane: pb.Lane) -> Place:
    return Place(lane.read_at.ToMicroseconds(), lane.head.topic, lane.head.partition, lane.head.offset)


def merge_status(answers: Sequence[pb.Status], instances: Iterable[pb.Instance]) -> pb.Status:
    """The fleet's status.

    Args:
        answers: of one instance each, at least one.
        instances: all, those among them that did not answer.
    """
    newest_first = sorted(
        answers, key=_revision, reverse=True
    )  # what operators decided is said by who knows most of it
    merged: dict[str, pb.SubscriptionStatus] = {}
    for answer in newest_first:
        for said in answer.subscriptions:
            if said.name in merged:
                _add(merged[said.name], said)
            else:
                merged[said.name] = pb.SubscriptionStatus()
                merged[said.name].CopyFrom(said)
    for said in merged.values():
        partitions = merge_partitions(said.partitions)
        del said.partitions[:]
        said.partitions.extend(partitions)
    return pb.Status(
        taken_at=max((answer.taken_at for answer in answers), key=lambda at: at.ToNanoseconds()),
        subscriptions=[merged[name] for name in sorted(merged)],
        instances=(listed := sort_instances(instances)),
        departures=merge_departures((each for answer in answers for each in answer.departures), listed),
        states=newest_first[0].states,
    )


def merge_departures(departures: Iterable[pb.Departure], instances: Iterable[pb.Instance]) -> list[pb.Departure]:
    """Return the latest of each daemon that is not there, the last first."""
    latest: dict[str, pb.Departure] = {}
    for each in departures:
        if each.address not in latest or each.left_at.ToNanoseconds() > latest[each.address].left_at.ToNanoseconds():
            latest[each.address] = each
    for instance in instances:
        latest.pop(instance.address, None)
    return sorted(latest.values(), key=lambda each: -each.left_at.ToNanoseconds())


def merge_partitions(partitions: Iterable[pb.PartitionStatus]) -> list[pb.PartitionStatus]:
    """By topic and number; of two owners, as while a partition moves, the one of the higher epoch."""
    owned: dict[tuple[str, int], pb.PartitionStatus] = {}
    for part in partitions:
        before = owned.get((part.topic, part.partition))
        if before is None or part.epoch > before.epoch:
            owned[part.topic, part.partition] = part
    return [owned[tp] for tp in sorted(owned)]


def merge_lanes(answers: Iterable[Iterable[pb.Lane]], lanes_max: int) -> list[pb.Lane]:
    """Those read first; of a lane that two instances hold, one."""
    lanes = sorted((lane for answer in answers for lane in answer), key=place_of)
    heads: set[tuple[str, int, int]] = set()
    merged = []
    for lane in lanes:
        head = (lane.head.topic, lane.head.partition, lane.head.offset)
        if head not in heads:
            heads.add(head)
            merged.append(lane)
    return merged[:lanes_max]


def sort_instances(instances: Iterable[pb.Instance]) -> list[pb.Instance]:
    return sorted(instances, key=lambda instance: (instance.address, instance.id))


def _revision(answer: pb.Status) -> int:
    return max((instance.control_revision for instance in answer.instances), default=-1)


def _add(total: pb.SubscriptionStatus, said: pb.SubscriptionStatus) -> None:
    if state_of(said.state).rank > state_of(total.state).rank:
        total.state, total.state_severity, total.state_reason = said.state, said.state_severity, said.state_reason
    flow, more = total.flow, said.flow
    if more.HasField("oldest") and (
        not flow.HasField("oldest") or more.lag_age.ToNanoseconds() > flow.lag_age.ToNanoseconds()
    ):
        flow.oldest.CopyFrom(more.oldest)
        flow.lag_age.CopyFrom(more.lag_age)
    flow.lag_records += more.lag_records
    flow.pending_records += more.pending_records
    flow.pending_bytes += more.pending_bytes
    flow.in_flight_records += more.in_flight_records
    flow.backing_off_records += more.backing_off_records
    total.delivered_per_s += said.delivered_per_s
    total.retried_per_s += said.retried_per_s
    total.dead_letters += said.dead_letters
    if said.HasField("unresolved_dead_letters"):  # each says it of the whole subscription
        total.unresolved_dead_letters = max(total.unresolved_dead_letters, said.unresolved_dead_letters)
    total.blocked_keys = max(total.blocked_keys, said.blocked_keys)  # each says it of the whole subscription
    if said.HasField("tightest") and (
        not total.HasField("tightest") or said.tightest.room_records < total.tightest.room_records
    ):
        total.tightest.CopyFrom(said.tightest)
    if said.HasField("endpoint"):
        waiting = total.endpoint.waiting_records + said.endpoint.waiting_records
        if not total.HasField("endpoint") or said.endpoint.since.ToNanoseconds() < total.endpoint.since.ToNanoseconds():
            total.endpoint.CopyFrom(said.endpoint)
        total.endpoint.waiting_records = waiting
    if said.HasField("last_failure") and _failed_at(said) > _failed_at(total):
        total.last_failure.CopyFrom(said.last_failure)
    total.partitions.extend(said.partitions)


def _failed_at(said: pb.SubscriptionStatus) -> int:
    return said.last_failure.failed_at.ToNanoseconds() if said.HasField("last_failure") else -1
