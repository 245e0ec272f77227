import pytest

from mpsd.core.delivery import Delivery
from mpsd.core.lanes import Lanes, chain
from tests.fakes.records import delivery


def lanes_of(*deliveries: Delivery) -> Lanes:
    lanes = Lanes()
    for each in deliveries:
        lanes.add(each)
    return lanes


def test_a_lane_gives_its_head_and_then_nothing_until_it_is_settled() -> None:
    first, second = delivery(0), delivery(1)
    lanes = lanes_of(first, second)
    assert lanes.take() is first
    with pytest.raises(IndexError):
        lanes.take()
    lanes.settled(first)
    assert lanes.take() is second


def test_different_lanes_are_out_together() -> None:
    first, second = delivery(0, b"a"), delivery(1, b"b")
    lanes = lanes_of(first, second)
    assert [lanes.take(), lanes.take()] == [first, second]


def test_free_deliveries_are_all_out_together_and_no_lane() -> None:
    free = [delivery(offset, None) for offset in range(3)]
    lanes = lanes_of(*free)
    assert len(lanes) == 0
    assert [lanes.take() for _ in free] == free
    lanes.settled(free[0])
    assert not lanes.ready


def test_an_empty_key_is_a_lane_and_no_free_delivery() -> None:
    lanes = lanes_of(delivery(0, b""), delivery(1, b""))
    assert (len(lanes), len(lanes.ready)) == (1, 1)


def test_a_lane_that_was_emptied_leaves_nothing_behind() -> None:
    only = delivery()
    lanes = lanes_of(only)
    lanes.settled(lanes.take())
    assert len(lanes) == 0
    assert not lanes.tails


def test_a_lane_that_was_emptied_can_be_filled_again() -> None:
    lanes = lanes_of(delivery(0))
    lanes.settled(lanes.take())
    again = delivery(1)
    lanes.add(again)
    assert lanes.take() is again


def test_a_record_behind_one_in_flight_waits_for_it() -> None:
    first, second = delivery(0), delivery(1)
    lanes = lanes_of(first)
    lanes.take()
    lanes.add(second)
    assert not lanes.ready
    lanes.settled(first)
    assert lanes.take() is second


def test_what_is_put_back_comes_before_what_became_ready_later() -> None:
    first, second = delivery(0, b"a"), delivery(1, b"b")
    lanes = lanes_of(first, second)
    lanes.take()
    lanes.put_back(first)
    assert [lanes.take(), lanes.take()] == [first, second]


def test_a_finished_delivery_does_not_hold_on_to_the_one_behind_it() -> None:
    first, second = delivery(0), delivery(1)
    lanes = lanes_of(first, second)
    lanes.settled(lanes.take())
    assert first.next is None


def test_a_chain_is_a_lane_in_order() -> None:
    first, other, second = delivery(0, b"a"), delivery(1, b"b"), delivery(2, b"a")
    lanes_of(first, other, second)
    assert list(chain(first)) == [first, second]


def test_lanes_show_what_they_hold() -> None:
    assert repr(lanes_of(delivery(0), delivery(1), delivery(2, b"b"))) == "<Lanes lanes=2 ready=2>"
