"""Many answers made one."""

import pytest

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.fleet import merge_lanes, merge_partitions, merge_status
from mpsd.admin.wire import duration, timestamp

RUNNING, PAUSED = "running", "paused"
ENDPOINT_OUT = "endpoint-out"


def flow(*, lag: int = 0, age_s: float = 0.0, oldest: int = -1) -> pb.Flow:
    return pb.Flow(
        lag_records=lag,
        pending_records=1,
        pending_bytes=10,
        in_flight_records=2,
        backing_off_records=3,
        lag_age=duration(age_s) if oldest >= 0 else None,
        oldest=pb.RecordRef(topic="orders", partition=0, offset=oldest) if oldest >= 0 else None,
    )


def answer(address: str, *subscriptions: pb.SubscriptionStatus, revision: int = 0) -> pb.Status:
    return pb.Status(
        taken_at=timestamp(1_000),
        subscriptions=subscriptions,
        instances=[pb.Instance(address=address, answered=True, control_revision=revision)],
    )


def test_of_the_partitions_of_paused_keys_the_one_with_the_least_room_is_named() -> None:
    def tight(partition: int, room: int) -> pb.SubscriptionStatus:
        part = pb.PartitionStatus(topic="orders", partition=partition, paused_lanes=1, room_records=room)
        return pb.SubscriptionStatus(name="billing", tightest=part)

    said = merge_status(
        [
            answer("a", pb.SubscriptionStatus(name="billing")),
            answer("b", tight(1, 7)),
            answer("c", tight(2, 3)),
            answer("d", tight(3, 9)),
        ],
        [],
    )
    assert said.subscriptions[0].tightest.partition == 2


def billing(state: str = RUNNING, reason: str = "", flow: pb.Flow | None = None) -> pb.SubscriptionStatus:
    return pb.SubscriptionStatus(
        name="billing",
        state=state,
        state_reason=reason,
        delivered_per_s=5.0,
        retried_per_s=0.5,
        dead_letters=7,
        flow=flow,
    )


def merged(*answers: pb.Status) -> pb.Status:
    return merge_status(answers, [instance for each in answers for instance in each.instances])


def test_what_can_be_added_is_added() -> None:
    said = merged(answer("b", billing(flow=flow(lag=4))), answer("a", billing(flow=flow(lag=6)))).subscriptions[0]
    assert (said.flow.lag_records, said.flow.pending_records, said.flow.pending_bytes) == (10, 2, 20)
    assert (said.flow.in_flight_records, said.flow.backing_off_records) == (4, 6)
    assert (said.delivered_per_s, said.retried_per_s, said.dead_letters) == (10.0, 1.0, 14)


def test_blocked_keys_are_of_all_partitions_whoever_says_so() -> None:
    late, early = billing(), billing()
    late.blocked_keys, early.blocked_keys = 3, 2
    assert merged(answer("a", late), answer("b", early)).subscriptions[0].blocked_keys == 3


def test_unresolved_dead_letters_are_of_the_whole_subscription_whoever_says_so() -> None:
    late, early, unknown = billing(), billing(), billing()
    late.unresolved_dead_letters, early.unresolved_dead_letters = 0, 2
    found = merged(answer("a", late), answer("b", early), answer("c", unknown)).subscriptions[0]
    assert found.unresolved_dead_letters == 2
    assert not merged(answer("c", unknown)).subscriptions[0].HasField("unresolved_dead_letters")


@pytest.mark.parametrize("ages", [(1.0, 9.0), (9.0, 1.0)])
def test_the_oldest_record_of_all_is_the_oldest(ages: tuple[float, float]) -> None:
    one, other = (billing(flow=flow(age_s=age_s, oldest=int(age_s))) for age_s in ages)
    said = merged(answer("a", one), answer("b", other), answer("c", billing(flow=flow()))).subscriptions[0]
    assert said.flow.oldest.offset == 9
    assert said.flow.lag_age.seconds == 9


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_worst_state_counts_with_its_reason(order: tuple[int, ...]) -> None:
    said = [billing(RUNNING), billing(ENDPOINT_OUT, "refused"), billing(PAUSED, "an operator")]
    found = merged(*(answer(str(number), said[number]) for number in order)).subscriptions[0]
    assert (found.state, found.state_reason) == (ENDPOINT_OUT, "refused")


def test_a_state_of_a_later_version_counts_as_unknown() -> None:
    said = [billing(RUNNING), billing("levitating", "nobody knows")]
    found = merged(*(answer(str(number), each) for number, each in enumerate(said))).subscriptions[0]
    assert (found.state, found.state_reason) == ("levitating", "nobody knows")


def test_what_operators_decided_is_said_by_who_knows_most_of_it() -> None:
    late, early = billing(), billing()
    late.pauses.append(pb.PauseState(selection=pb.Selection(subscription="billing", topic="late")))
    early.pauses.append(pb.PauseState(selection=pb.Selection(subscription="billing", topic="early")))
    found = merged(answer("a", early, revision=3), answer("b", late, revision=8)).subscriptions[0]
    assert [pause.selection.topic for pause in found.pauses] == ["late"]


def test_subscriptions_and_instances_are_in_order_and_complete() -> None:
    audit = pb.SubscriptionStatus(name="audit")
    silent = pb.Instance(address="0", answered=False, problem="no answer")
    one, other = answer("b", billing()), answer("a", audit)
    found = merge_status([one, other], [*one.instances, silent, *other.instances])
    assert [each.name for each in found.subscriptions] == ["audit", "billing"]
    assert [each.address for each in found.instances] == ["0", "a", "b"]


def test_of_two_owners_the_later_one_is_the_owner() -> None:
    parts = [
        pb.PartitionStatus(topic="orders", partition=1, instance="new", epoch=9),
        pb.PartitionStatus(topic="orders", partition=0, instance="a", epoch=3),
        pb.PartitionStatus(topic="orders", partition=1, instance="old", epoch=4),
    ]
    for order in (parts, parts[::-1]):
        assert [each.instance for each in merge_partitions(order)] == ["a", "new"]


def lane(offset: int, read_ms: int) -> pb.Lane:
    return pb.Lane(head=pb.RecordRef(topic="orders", partition=0, offset=offset), read_at=timestamp(read_ms))


def test_lanes_are_listed_once_the_oldest_first() -> None:
    found = merge_lanes([[lane(1, 10), lane(3, 30)], [lane(2, 20), lane(1, 10)]], 2)
    assert [each.head.offset for each in found] == [1, 2]
