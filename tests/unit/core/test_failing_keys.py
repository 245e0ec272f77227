from mpsd.core.failing_keys import FailingKeys
from tests.fakes.records import assigned

ORDERS = assigned(0).tp
OTHER = assigned(1).tp


def exhausting(times: int, threshold: int = 3, keys_max: int = 10) -> FailingKeys:
    keys = FailingKeys(threshold, keys_max)
    for _ in range(times):
        keys.exhausted(ORDERS, b"a")
    return keys


def test_a_key_is_sick_once_so_many_records_in_a_row_exhausted_their_attempts() -> None:
    assert not exhausting(2).is_failing(ORDERS, b"a")
    assert exhausting(3).is_failing(ORDERS, b"a")


def test_a_key_is_healed_by_its_first_success() -> None:
    keys = exhausting(3)
    keys.succeeded(ORDERS, b"a")
    assert not keys.is_failing(ORDERS, b"a")
    assert len(keys) == 0


def test_a_success_between_begins_the_row_anew() -> None:
    keys = exhausting(2)
    keys.succeeded(ORDERS, b"a")
    keys.exhausted(ORDERS, b"a")
    assert not keys.is_failing(ORDERS, b"a")


def test_the_success_of_another_key_heals_nobody() -> None:
    keys = exhausting(3)
    keys.succeeded(ORDERS, b"b")
    assert keys.is_failing(ORDERS, b"a")


def test_the_same_key_of_another_partition_is_another_key() -> None:
    assert not exhausting(3).is_failing(OTHER, b"a")


def test_records_without_a_lane_have_no_history() -> None:
    keys = FailingKeys(1, 10)
    keys.exhausted(ORDERS, None)
    assert not keys.is_failing(ORDERS, None)
    assert len(keys) == 0


def test_a_threshold_of_zero_switches_it_off() -> None:
    keys = exhausting(99, threshold=0)
    assert not keys.is_failing(ORDERS, b"a")
    assert len(keys) == 0


def test_beyond_the_bound_the_key_that_failed_longest_ago_is_forgotten() -> None:
    keys = FailingKeys(1, 2)
    for lane in (b"a", b"b", b"a", b"c"):
        keys.exhausted(ORDERS, lane)
    assert [keys.is_failing(ORDERS, lane) for lane in (b"a", b"b", b"c")] == [True, False, True]


def test_a_partition_takes_its_keys_along_when_it_leaves() -> None:
    keys = exhausting(3)
    keys.exhausted(OTHER, b"a")
    keys.forget(ORDERS)
    assert (len(keys), keys.is_failing(ORDERS, b"a")) == (1, False)
