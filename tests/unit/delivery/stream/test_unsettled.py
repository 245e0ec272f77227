"""Unsettled deliveries of one stream, on a clock of the test's own."""

from mpsd.core.delivery import Delivery
from mpsd.delivery.stream.unsettled import MARKS_PER_LEASE, Unsettled
from tests.conformance.deliveries import assigned, deliveries

LEASE_S = 10.0


def holding(count: int, now_s: float = 0.0) -> tuple[Unsettled, list[Delivery]]:
    """So many that were sent."""
    unsettled, given = Unsettled(LEASE_S, 100.0), deliveries(count)
    unsettled.assign(given, now_s)
    send_all(unsettled)
    return unsettled, given


def send_all(unsettled: Unsettled) -> list[int]:
    sent = []
    while (following := unsettled.next_unsent()) is not None:
        sent.append(following[0])
        unsettled.sending()
    return sent


def test_each_is_settled_once_and_only_once_it_was_sent() -> None:
    unsettled, given = Unsettled(LEASE_S, 100.0), deliveries(2)
    unsettled.assign(given, 0.0)
    assert unsettled.settle(1) is None
    assert send_all(unsettled) == [1, 2]
    assert (unsettled.settle(1), unsettled.settle(1), unsettled.settle(2)) == (given[0], None, given[1])
    assert (len(unsettled), unsettled.sent, unsettled.unsent) == (0, 0, 0)


def test_what_is_taken_back_before_it_was_sent_is_passed_over() -> None:
    unsettled, given = Unsettled(LEASE_S, 100.0), deliveries(4)
    unsettled.assign(given, 0.0)
    assert [unsettled.take(each) for each in (1, 3)] == [given[0], given[2]]
    assert send_all(unsettled) == [2, 4]
    unsettled.assign(deliveries(1), 0.0)
    assert send_all(unsettled) == [5]


def test_all_of_one_batch_end_together_and_not_before() -> None:
    unsettled, _ = holding(3)
    unsettled.settle(2)
    assert unsettled.expired(LEASE_S - 0.001) == []
    assert unsettled.expired(LEASE_S) == [1, 3]


def test_later_batches_end_later() -> None:
    unsettled, _ = holding(2)
    unsettled.assign(deliveries(2), 5.0)
    for each in unsettled.expired(LEASE_S):
        unsettled.take(each)
    assert list(unsettled.ids()) == [3, 4]
    assert unsettled.expired(15.0) == [3, 4]


def test_marks_are_few_however_many_batches_there_are() -> None:
    unsettled = Unsettled(LEASE_S, 100.0)
    for turn in range(10_000):
        unsettled.assign(deliveries(1), turn * LEASE_S / 10_000)
    assert len(unsettled._marks) <= MARKS_PER_LEASE + 1
    assert unsettled.expired(LEASE_S) == []
    assert len(unsettled.expired(2 * LEASE_S)) == 10_000


def test_an_extended_lease_ends_by_itself_and_within_the_total() -> None:
    unsettled, given = holding(3)
    assert unsettled.extend(1, 20.0, 5.0)
    assert unsettled.extend(3, 500.0, 5.0)
    assert unsettled.expired(LEASE_S) == [2]
    unsettled.take(2)
    assert unsettled.expired(24.9) == []
    assert unsettled.expired(25.0) == [1]
    assert unsettled.take(1) is given[0]
    assert unsettled.extend(3, 500.0, 90.0)
    assert unsettled.expired(99.9) == []
    assert unsettled.expired(100.0) == [3]
    assert unsettled.settle(3) is given[2]


def test_nothing_is_extended_that_the_client_does_not_have() -> None:
    unsettled, _ = holding(1)
    unsettled.assign(deliveries(1), 0.0)
    unsettled.settle(1)
    assert not unsettled.extend(1, 5.0, 0.0)
    assert not unsettled.extend(2, 5.0, 0.0)


def test_ids_of_an_assignment_in_order_extended_or_not() -> None:
    leaving = assigned(1)
    unsettled = Unsettled(LEASE_S, 100.0)
    unsettled.assign([*deliveries(2, leaving), *deliveries(1), *deliveries(1, leaving)], 0.0)
    send_all(unsettled)
    unsettled.extend(4, 5.0, 0.0)
    unsettled.extend(1, 5.0, 0.0)
    assert list(unsettled.ids(leaving)) == [1, 2, 4]
    assert list(unsettled.ids()) == [1, 2, 3, 4]
