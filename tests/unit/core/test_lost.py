from mpsd.core.lost import LostDeliveries
from tests.fakes.records import assigned, in_flight

WINDOW_S = 1.0


def test_nothing_lost_is_nothing_to_judge() -> None:
    lost = LostDeliveries(WINDOW_S)
    assert lost.due_s is None
    assert lost.judge(99.0) == ((), ())


def test_several_lost_together_are_suspects_and_none_is_charged() -> None:
    lost, several = LostDeliveries(WINDOW_S), [in_flight(offset, None) for offset in range(3)]
    for number, each in enumerate(several):
        lost.add(each, 10.0 + number * 0.4)
    assert lost.judge(11.0) == ([], several)


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
