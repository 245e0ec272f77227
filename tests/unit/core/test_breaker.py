from mpsd.core.breaker import Breaker, BreakerRules

RULES = BreakerRules(lanes_min=3, successes_between=20, probe_interval_s=1.0)


def failing(*lanes: str, now_s: float = 10.0) -> Breaker:
    breaker = Breaker(RULES)
    for lane in lanes:
        breaker.failed(lane, now_s)
    return breaker


def test_failures_on_enough_lanes_open_it() -> None:
    assert not failing("a", "b").is_open
    assert failing("a", "b", "c").is_open
    assert failing("a", "b", "c").opened == 1


def test_one_lane_that_fails_for_ever_does_not() -> None:
    assert not failing(*"a" * 100).is_open


def test_a_success_between_begins_the_count_anew() -> None:
    breaker = failing("a", "b")
    breaker.succeeded()
    breaker.failed("c", 10.0)
    assert not breaker.is_open


def test_an_answer_that_was_no_success_leaves_the_count() -> None:
    breaker = failing("a", "b")
    breaker.answered()
    breaker.failed("c", 10.0)
    assert breaker.is_open


def test_a_closed_one_has_no_probes() -> None:
    breaker = failing("a", "b")
    assert not breaker.may_probe(99.0)
    assert breaker.probe_due_s is None


def test_the_first_probe_goes_out_after_a_rest() -> None:
    breaker = failing("a", "b", "c")
    assert breaker.probe_due_s == 11.0
    assert not breaker.may_probe(10.9)
    assert breaker.may_probe(11.0)


def test_one_probe_is_out_at_a_time() -> None:
    breaker = failing("a", "b", "c")
    breaker.probe("d")
    assert not breaker.may_probe(99.0)
    assert breaker.probe_due_s is None


def test_a_probe_that_failed_is_followed_by_another_after_a_rest() -> None:
    breaker = failing("a", "b", "c")
    breaker.probe("d")
    breaker.failed("d", 20.0)
    assert breaker.is_open
    assert breaker.probe_due_s == 21.0
    assert breaker.opened == 1


def test_a_probe_that_was_answered_closes_it() -> None:
    for answer in (Breaker.answered, Breaker.succeeded):
        breaker = failing("a", "b", "c")
        breaker.probe("d")
        answer(breaker)
        assert not breaker.is_open
        assert not failing("d").is_open


def test_a_probe_that_came_to_nothing_makes_way_for_another_at_once() -> None:
    breaker = failing("a", "b", "c")
    breaker.probe("d")
    breaker.withdrawn("d")
    assert breaker.may_probe(11.0)


def test_what_was_in_flight_before_says_nothing_of_the_probe() -> None:
    breaker = failing("a", "b", "c")
    breaker.probe("d")
    breaker.failed("early", 12.0)
    breaker.withdrawn("earlier")
    assert not breaker.may_probe(99.0)


def test_an_endpoint_that_names_a_time_is_left_alone_until_then() -> None:
    breaker = failing("a", "b")
    breaker.failed("c", 10.0, retry_after_s=30.0)
    breaker.failed("d", 11.0, retry_after_s=5.0)
    assert breaker.probe_due_s == 40.0


def test_the_time_it_named_in_one_outage_is_not_waited_for_in_the_next() -> None:
    breaker = failing("a", "b")
    breaker.failed("c", 10.0, retry_after_s=300.0)
    breaker.succeeded()
    for lane in "abc":
        breaker.failed(lane, 20.0)
    assert breaker.probe_due_s == 21.0


def test_once_closed_it_counts_from_nothing() -> None:
    breaker = failing("a", "b", "c")
    breaker.succeeded()
    breaker.failed("a", 20.0)
    breaker.failed("b", 20.0)
    assert not breaker.is_open
    breaker.failed("c", 20.0)
    assert breaker.opened == 2


def test_successes_are_counted() -> None:
    breaker = failing()
    breaker.succeeded()
    breaker.succeeded()
    assert breaker.successes == 2


def test_it_shows_its_state() -> None:
    assert repr(failing("a")) == "<Breaker closed failing=1 opened=0>"
    assert repr(failing("a", "b", "c")) == "<Breaker open failing=0 opened=1>"
