from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.delivery import Delivery, FailureHistory
from mpsd.core.outcome import DELIVERED, Outcome
from mpsd.core.suspects import Suspects
from tests.fakes.records import FAILED, LOST, REFUSED, TAKEN_BACK, assigned, in_flight

ANY = 1 << 30


def suspect(offset: int, attempts: int = 0) -> Delivery:
    made = in_flight(offset, b"k%d" % offset)
    made.failures = FailureHistory(suspect=True, attempts=attempts)
    return made


def suspects_of(count: int) -> Suspects:
    suspects = Suspects()
    for offset in range(count):
        suspects.lost(suspect(offset))
    return suspects


def take(
    suspects: Suspects, records_max: int = ANY, bytes_max: int = ANY, held: Collection[int] = ()
) -> list[Delivery]:
    return suspects.take(records_max, bytes_max, lambda _: False, lambda each: each.record.offset not in held)


def offsets(group: Collection[Delivery]) -> list[int]:
    return [each.record.offset for each in group]


def end(suspects: Suspects, group: Collection[Delivery], outcome: Outcome) -> None:
    for each in group:
        suspects.ended(each, outcome)


def test_groups_double_while_all_are_answered() -> None:
    suspects = suspects_of(1000)
    sizes = []
    while group := take(suspects):
        sizes.append(len(group))
        end(suspects, group, DELIVERED)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 128, 256, 489]
    assert not suspects


def test_the_next_group_waits_for_all_of_the_last() -> None:
    suspects = suspects_of(4)
    end(suspects, take(suspects), FAILED)
    first, second = take(suspects)
    assert take(suspects) == []
    suspects.ended(first, DELIVERED)
    assert take(suspects) == []
    suspects.ended(second, DELIVERED)
    assert offsets(take(suspects)) == [3]


def test_after_a_loss_the_group_goes_first_and_one_by_one() -> None:
    suspects = suspects_of(8)
    for _ in range(2):
        end(suspects, take(suspects), DELIVERED)
    lost = take(suspects)
    assert offsets(lost) == [3, 4, 5, 6]
    end(suspects, lost, LOST)
    for each in lost:
        suspects.lost(each)
    groups = []
    while group := take(suspects):
        groups.append(offsets(group))
        end(suspects, group, DELIVERED)
    assert groups == [[6], [5, 4], [3], [7]]


def test_after_a_second_loss_its_group_goes_before_what_is_left_of_the_first() -> None:
    suspects = suspects_of(8)
    for _ in range(2):
        end(suspects, take(suspects), DELIVERED)
    lost = take(suspects)
    end(suspects, lost, LOST)
    for each in lost:
        suspects.lost(each)
    end(suspects, take(suspects), DELIVERED)
    again = take(suspects)
    assert offsets(again) == [5, 4]
    end(suspects, again, LOST)
    for each in again:
        suspects.lost(each)
    assert [each.record.offset for each in suspects] == [4, 5, 3, 7]


def test_one_that_was_charged_goes_alone() -> None:
    suspects = suspects_of(1)
    end(suspects, take(suspects), DELIVERED)
    for each in (suspect(0), suspect(1, attempts=1), suspect(2)):
        suspects.rested(each)
    groups = []
    while group := take(suspects):
        groups.append((offsets(group), [each.failures and each.failures.group for each in group]))
        end(suspects, group, DELIVERED)
    assert groups == [([0], [1]), ([1], [1]), ([2], [1])]


def test_one_that_was_lost_as_a_probe_goes_alone() -> None:
    suspects, probe = suspects_of(2), suspect(9)
    end(suspects, take(suspects), DELIVERED)
    assert probe.failures is not None
    probe.failures.group = 1
    suspects.rested(probe)
    group = take(suspects)
    assert offsets(group) == [1]
    end(suspects, group, DELIVERED)
    assert offsets(take(suspects)) == [9]


def test_one_that_was_handed_out_behind_another_of_its_lane_goes_alone() -> None:
    suspects, behind = suspects_of(3), suspect(9)
    behind.is_behind = True
    end(suspects, take(suspects), DELIVERED)
    suspects.remove(next(iter(suspects)))
    suspects.rested(behind)
    assert offsets(take(suspects)) == [2]


def test_a_group_is_no_larger_than_there_is_demand() -> None:
    suspects = suspects_of(100)
    for _ in range(3):
        end(suspects, take(suspects), DELIVERED)
    group = take(suspects, records_max=3)
    assert len(group) == 3
    assert [each.failures and each.failures.group for each in group] == [3, 3, 3]
    end(suspects, group, DELIVERED)
    size = group[0].size_bytes
    assert len(take(suspects, bytes_max=size + 1)) == 2
    assert repr(suspects) == "<Suspects waiting=88 out=2 size=8>"


@pytest.mark.parametrize("outcome", [REFUSED, TAKEN_BACK, None])
def test_what_came_to_nothing_proves_nothing(outcome: Outcome | None) -> None:
    suspects = suspects_of(4)
    (first,) = take(suspects)
    suspects.ended(first, outcome)
    suspects.rested(first)
    assert offsets(take(suspects)) == [1]


def test_others_than_those_that_are_out_mean_nothing() -> None:
    suspects = suspects_of(3)
    group = take(suspects)
    suspects.ended(in_flight(7, b"z"), LOST)
    end(suspects, group, DELIVERED)
    assert len(take(suspects)) == 2


def test_those_that_are_held_keep_their_place_and_hinder_nobody() -> None:
    suspects = suspects_of(3)
    assert offsets(take(suspects, held=[0])) == [1]
    assert offsets(list(suspects)) == [0, 2]


def test_of_partitions_that_are_held_nobody_is_looked_at() -> None:
    suspects, here, elsewhere, looked_at = Suspects(), assigned(0), assigned(1), list[int]()
    for offset in range(6):
        made = in_flight(offset, b"k%d" % offset, elsewhere if offset % 2 else here)
        made.failures = FailureHistory(suspect=True)
        suspects.lost(made)

    def may_go(each: Delivery) -> bool:
        looked_at.append(each.record.offset)
        return True

    assert offsets(suspects.take(ANY, ANY, lambda each: each is here, may_go)) == [1]
    assert looked_at == [1]
    assert suspects.take(ANY, ANY, lambda _: True, may_go) == []
    assert offsets(list(suspects)) == [0, 2, 3, 4, 5]


def test_what_has_gone_is_forgotten() -> None:
    suspects, other = suspects_of(2), suspect(5)
    again = in_flight(6, b"x", assigned(1))
    again.failures = FailureHistory(suspect=True, group=2)
    suspects.lost(again)
    suspects.rested(other)
    assert offsets(list(suspects)) == [6, 0, 1, 5]
    suspects.remove(other)
    assert offsets(list(suspects)) == [6, 0, 1]
    suspects.forget(again.assignment)
    assert offsets(list(suspects)) == [0, 1]
    lost_again = in_flight(7, b"y")
    lost_again.failures = FailureHistory(suspect=True, group=2)
    suspects.lost(lost_again)
    suspects.remove(lost_again)
    assert offsets(list(suspects)) == [0, 1]


@given(st.integers(1, 600), st.data())
def test_a_culprit_is_alone_after_few_losses_and_no_innocent_ever_is_lost_alone(
    count: int, data: st.DataObject
) -> None:
    """However large the event was; and everybody else is through after few groups."""
    culprit = data.draw(st.integers(0, count - 1))
    suspects, losses, groups, left = suspects_of(count), 0, 0, count - 1
    while group := take(suspects):
        groups += 1
        if culprit not in offsets(group):
            left -= len(group)
            end(suspects, group, DELIVERED)
            continue
        if len(group) == 1:
            assert offsets(group) == [culprit]
            break
        losses += 1
        end(suspects, group, LOST)
        for each in group:
            suspects.lost(each)
    bits = count.bit_length()
    assert losses <= bits
    assert groups <= bits * (bits + 1)
    end(suspects, group, LOST)
    while others := take(suspects):
        left -= len(others)
        end(suspects, others, DELIVERED)
    assert left == 0
