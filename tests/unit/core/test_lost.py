from mpsd.core.delivery import FailureHistory
from mpsd.core.lost import LostDeliveries
from tests.fakes.records import assigned, in_flight

WINDOW_S = 1.0


def test_nothing_lost_is_nothing_to_judge() -> None:
    lost = LostDeliveries(WINDOW_S)
    assert lost.due_s is None
    assert lost.judge(99.0) == ((), ())


def test_one_that_was_lost_alone_is_to_blame() -> None:
    lost, only = LostDeliveries(WINDOW_S), in_flight()
    lost.add(only, 10.0)
    assert lost.judge(11.0) == ([only], ())


def test_nobody_is_blamed_before_the_window_is_over() -> None:
    lost = LostDeliveries(WINDOW_S)
    lost.add(in_flight(), 10.0)
    assert lost.judge(10.9) == ((), ())
    assert (len(lost), lost.due_s) == (1, 11.0)


def test_several_lost_together_are_suspects_and_none_is_charged() -> None:
    lost, several = LostDeliveries(WINDOW_S), [in_flight(offset, None) for offset in range(3)]
    for number, each in enumerate(several):
        lost.add(each, 10.0 + number * 0.4)
    assert lost.judge(11.0) == ([], several)


def test_a_suspect_that_is_lost_again_is_charged_and_the_others_are_not() -> None:
    lost, suspect, other = LostDeliveries(WINDOW_S), in_flight(0, attempts=1), in_flight(1, attempts=1)
    assert suspect.failures is not None
    suspect.failures.suspect, suspect.failures.group = True, 1
    lost.add(other, 10.0)
    lost.add(suspect, 10.0)
    assert lost.judge(11.0) == ([suspect], [other])


def test_suspects_that_are_lost_out_of_one_group_are_not_charged() -> None:
    lost, group = LostDeliveries(WINDOW_S), [in_flight(offset) for offset in range(2)]
    for each in group:
        each.failures = FailureHistory(suspect=True, group=2)
        lost.add(each, 10.0)
    assert lost.judge(11.0) == ([], group)


def test_one_without_any_trouble_so_far_is_no_suspect_yet() -> None:
    lost, two = LostDeliveries(WINDOW_S), [in_flight(0), in_flight(1)]
    for each in two:
        lost.add(each, 10.0)
    assert lost.judge(11.0) == ([], two)


def test_the_next_event_has_a_window_of_its_own() -> None:
    lost, late = LostDeliveries(WINDOW_S), in_flight(1)
    lost.add(in_flight(0), 10.0)
    lost.judge(11.0)
    assert (len(lost), lost.due_s) == (0, None)
    lost.add(late, 11.5)
    assert lost.due_s == 12.5
    assert lost.judge(12.5) == ([late], ())


def test_one_of_a_partition_that_left_was_of_the_event_all_the_same() -> None:
    lost, gone, stayed = LostDeliveries(WINDOW_S), in_flight(0, assignment=assigned(1)), in_flight(1)
    lost.add(gone, 10.0)
    lost.add(stayed, 10.0)
    lost.forget(assigned(1).tp)
    assert len(lost) == 1
    assert lost.judge(11.0) == ([], [stayed])
    lost.add(in_flight(2), 20.0)
    assert [each.record.offset for each in lost.judge(21.0).charged] == [2]
