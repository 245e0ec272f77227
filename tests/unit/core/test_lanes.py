import pytest

from mpsd.core.delivery import Delivery, FailureHistory, Seat
from mpsd.core.lanes import TRANSITIONS, Event, Lanes, chain, move, predecessor
from tests.fakes.records import FAILED, delivery


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


def test_free_deliveries_are_all_out_together_and_no_lane() -> None:
    free = [delivery(offset, None) for offset in range(3)]
    lanes = lanes_of(*free)
    assert len(lanes) == 0
    assert [lanes.take() for _ in free] == free
    lanes.settled(free[0])
    assert not lanes.ready


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


def run_of(count: int) -> tuple[Lanes, list[Delivery]]:
    """Return a lane of so many records, all handed out in one run."""
    lane = [delivery(offset) for offset in range(count)]
    lanes = lanes_of(*lane)
    assert [head := lanes.take(), *lanes.take_run(head, count)] == lane
    return lanes, lane


def test_a_run_is_what_stands_behind_the_head() -> None:
    lanes = lanes_of(*(delivery(offset) for offset in range(4)), delivery(4, b"b"))
    head = lanes.take()
    assert [each.record.offset for each in lanes.take_run(head, 2)] == [1, 2]
    assert lanes.take_run(delivery(9), 2) == []


def test_a_run_ends_before_one_that_failed_but_not_before_one_that_was_taken_back() -> None:
    lane = [delivery(offset) for offset in range(4)]
    lane[1].failures = FailureHistory()
    lane[2].failures = FailureHistory(last=FAILED)
    lanes = lanes_of(*lane)
    assert lanes.take_run(lanes.take(), 9) == [lane[1]]


def test_one_that_comes_back_behind_its_head_waits_in_its_place() -> None:
    lanes, (head, second, third) = run_of(3)
    lanes.put_back(head)
    lanes.put_back(second)
    lanes.put_back(third)
    assert list(lanes.ready) == [head]
    lanes.settled(lanes.take())
    assert list(lanes.ready) == [second]


def test_what_is_finished_before_its_head_waits_for_it_and_is_passed_over() -> None:
    lanes, (head, second, third) = run_of(3)
    last = delivery(3)
    lanes.add(last)
    lanes.settled(second)
    lanes.settled(third)
    assert not lanes.ready
    lanes.settled(head)
    assert lanes.take() is last
    assert third.next is None


def test_a_lane_ends_with_its_head_where_all_behind_it_are_finished() -> None:
    lanes, (head, second, third) = run_of(3)
    lanes.settled(third)
    lanes.settled(second)
    lanes.settled(head)
    assert not lanes.tails


def test_one_still_out_behind_finished_ones_becomes_the_head_and_is_not_ready() -> None:
    lanes, (head, second, third) = run_of(3)
    lanes.settled(second)
    lanes.settled(head)
    assert not lanes.ready
    lanes.put_back(third)
    assert list(lanes.ready) == [third]


def test_one_that_waits_leaves_its_lane_when_it_is_withdrawn() -> None:
    first, second, third = (delivery(offset) for offset in range(3))
    lanes = lanes_of(first, second, third)
    lanes.take()
    skip(lanes, second, first)
    skip(lanes, third, first)
    lanes.settled(third)
    lanes.settled(second)
    fourth = delivery(3)
    lanes.add(fourth)
    lanes.settled(first)
    assert lanes.take() is fourth
    lanes.settled(fourth)
    assert not lanes


def test_a_head_that_is_withdrawn_is_taken_no_more_and_its_lane_waits_for_it() -> None:
    first, second = delivery(0), delivery(1)
    lanes = lanes_of(first, second)
    skip(lanes, first)
    assert not lanes.ready
    lanes.settled(first)
    skip(lanes, second)
    lanes.settled(second)
    assert not lanes


def test_a_paused_head_comes_back_in_its_place() -> None:
    lane = [delivery(offset, b"%d" % offset) for offset in range(4)]
    lanes = lanes_of(*lane)
    for each in lane[:3]:
        lanes.pause(each)
    assert [each.seat for each in lane] == [Seat.PAUSED] * 3 + [Seat.READY]
    skip(lanes, lane[1])
    lanes.resume({b"0"})
    assert (lanes.paused, list(lanes.ready)) == ([lane[0]], [lane[2], lane[3]])
    lanes.resume(())
    assert (lanes.paused, list(lanes.ready)) == ([], [lane[0], lane[2], lane[3]])


def skip(lanes: Lanes, skipped: Delivery, before: Delivery | None = None) -> None:
    lanes.withdraw(skipped, before)
    move(skipped, Event.SKIP)


def test_the_predecessor_is_found_past_what_is_settled_and_still_in_the_lane() -> None:
    lanes, (head, second) = run_of(2)
    third, fourth = delivery(2), delivery(3)
    lanes.add(third)
    lanes.add(fourth)
    lanes.settled(second)
    assert predecessor(third, [delivery(9, b"b"), head, third]) is second
    assert predecessor(fourth, [head, third, fourth]) is third
    assert predecessor(head, [head, third]) is None


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("seat", Seat)
def test_a_delivery_moves_only_as_the_table_says(seat: Seat, event: Event) -> None:
    made = delivery()
    made.seat = seat
    if (target := TRANSITIONS[event].get(seat)) is None:
        with pytest.raises(AssertionError, match=f"^orders/0@0 {event.value} while it is {seat.value}$"):
            move(made, event)
        assert made.seat is seat
    else:
        move(made, event)
        assert made.seat is target


def test_nothing_leaves_a_settled_delivery_and_every_other_seat_can_be_left() -> None:
    left = {seat for table in TRANSITIONS.values() for seat in table}
    assert left == set(Seat) - {Seat.SETTLED}


def test_one_that_is_settled_twice_is_a_bug() -> None:
    lanes = lanes_of(delivery(0))
    only = lanes.take()
    lanes.settled(only)
    with pytest.raises(AssertionError, match="is finished while it is settled"):
        lanes.settled(only)


def test_one_that_waits_is_not_withdrawn_without_the_one_before_it() -> None:
    first, second = delivery(0), delivery(1)
    lanes = lanes_of(first, second)
    with pytest.raises(AssertionError, match="is skipped while it is waiting"):
        lanes.withdraw(second, None)


def test_the_newest_is_the_head_that_became_ready_last() -> None:
    first, second, third = delivery(0, b"a"), delivery(1, b"b"), delivery(2, b"c")
    lanes = lanes_of(first, second, third)
    assert [lanes.take_newest(), lanes.take(), lanes.take()] == [third, first, second]
