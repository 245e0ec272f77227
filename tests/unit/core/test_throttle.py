from mpsd.core.throttle import Throttle


def test_it_begins_wide_open() -> None:
    throttle = Throttle(64)
    assert throttle.is_wide_open
    assert throttle.limit == 64


def test_an_endpoint_that_asks_for_less_gets_half() -> None:
    throttle = Throttle(64)
    throttle.asked_for_less(10.0)
    assert throttle.limit == 32
    assert not throttle.is_wide_open


def test_a_burst_of_answers_is_one_wish() -> None:
    throttle = Throttle(64)
    for hundredth in range(100):
        throttle.asked_for_less(10.0 + hundredth / 100)
    assert throttle.limit == 32
    throttle.asked_for_less(11.0)
    assert throttle.limit == 16


def test_one_delivery_at_a_time_is_the_least() -> None:
    throttle = Throttle(4)
    for second in range(10):
        throttle.asked_for_less(float(second))
    assert throttle.limit == 1


def test_each_full_round_of_successes_gives_one_more() -> None:
    throttle = Throttle(8)
    throttle.asked_for_less(10.0)
    for _ in range(3):
        throttle.succeeded()
    assert throttle.limit == 4
    throttle.succeeded()
    assert throttle.limit == 5


def test_it_opens_to_the_limit_of_the_operator_and_no_further() -> None:
    throttle = Throttle(4)
    throttle.asked_for_less(10.0)
    for _ in range(100):
        throttle.succeeded()
    assert throttle.is_wide_open
    assert throttle.limit == 4


def test_a_wish_in_the_middle_of_a_round_begins_the_round_anew() -> None:
    throttle = Throttle(4)
    throttle.asked_for_less(10.0)
    throttle.succeeded()
    throttle.asked_for_less(20.0)
    assert throttle.limit == 1
    throttle.succeeded()
    assert throttle.limit == 2


def test_it_shows_its_limit() -> None:
    assert repr(Throttle(64)) == "<Throttle 64/64>"
