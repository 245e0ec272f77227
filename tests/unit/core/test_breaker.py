import pytest

from mpsd.core.breaker import ALL_REJECTED, OUT, UP, Breaker, BreakerRules, Transition
from mpsd.core.outcome import Moment

RULES = BreakerRules(
    lanes_min=3, failures_min=5, successes_between=20, probe_interval_s=1.0, rejections_max=4, rejection_lanes_min=2
)
BEGAN = Moment(10.0, 10_000)


def at(now_s: float) -> Moment:
    return Moment(now_s, int(now_s * 1000))


def failing(*lanes: str, now_s: float = 10.0) -> Breaker:
    breaker = Breaker(RULES)
    for lane in lanes:
        breaker.failed(lane, at(now_s), f"{lane} failed")
    return breaker


def out() -> Breaker:
    return failing(*"abcab")


def rejecting(*lanes: str) -> Breaker:
    """Rejections of these lanes, one after the other."""
    breaker = Breaker(RULES)
    for lane in lanes:
        breaker.rejected(lane, at(10.0), f"{lane} rejected")
    return breaker


def braked() -> Breaker:
    return rejecting(*"ababa")


# Outages


def test_enough_failures_in_a_row_on_enough_lanes_are_an_outage() -> None:
    assert failing(*"abca").state is UP
    assert out().state is OUT
    assert out().opened == 1


def test_fewer_failures_are_one_once_they_have_gone_on_for_long() -> None:
    breaker = failing("a", "b")
    breaker.failed("c", at(10.9))
    assert breaker.state is UP
    breaker.failed("c", at(11.0))
    assert breaker.state is OUT


def test_one_lane_that_fails_for_ever_is_none() -> None:
    breaker = failing(*"a" * 100)
    breaker.failed("a", at(99.0))
    assert not breaker.is_open


def test_a_success_between_begins_all_counts_again() -> None:
    breaker = failing(*"abca")
    breaker.succeeded()
    breaker.failed("b", at(99.0))
    assert not breaker.is_open
    assert breaker.since == at(99.0)


def test_a_rejection_between_is_no_success() -> None:
    breaker = failing(*"abca")
    breaker.rejected("d", at(10.0))
    breaker.failed("b", at(10.0))
    assert breaker.state is OUT


def test_a_policy_may_believe_in_an_outage_earlier() -> None:
    breaker = failing("a", "b")
    assert not breaker.is_failing
    breaker.failed("c", at(10.0))
    assert breaker.is_failing
    breaker.pause(at(10.0))
    breaker.pause(at(10.0))
    assert (breaker.state, breaker.opened) == (OUT, 1)


def test_an_outage_begins_with_its_first_failure_and_is_reported_once() -> None:
    breaker = failing("a", "b", now_s=10.0)
    breaker.failed("c", at(12.0), "connection refused")
    breaker.failed("d", at(13.0))
    assert breaker.transitions == [Transition(before=UP, after=OUT, since=BEGAN, reason="connection refused")]


def test_one_success_ends_an_outage() -> None:
    breaker = out()
    breaker.transitions.clear()
    breaker.succeeded()
    assert (breaker.state, breaker.is_open, breaker.since) == (UP, False, None)
    assert breaker.transitions == [Transition(before=OUT, after=UP, since=BEGAN, reason="b failed")]


def test_successes_are_counted_and_report_nothing() -> None:
    breaker = failing()
    breaker.succeeded()
    breaker.succeeded()
    assert (breaker.successes, breaker.transitions) == (2, [])


# Probes


def test_an_endpoint_that_is_up_has_no_probes() -> None:
    breaker = failing("a", "b")
    assert not breaker.may_probe(99.0)
    assert breaker.probe_due_s is None


def test_the_first_probe_goes_out_after_an_eighth_of_the_interval() -> None:
    breaker = out()
    assert breaker.probe_due_s == 10.125
    assert not breaker.may_probe(10.124)
    assert breaker.may_probe(10.125)


def test_one_probe_is_out_at_a_time() -> None:
    breaker = out()
    breaker.probe("d")
    assert breaker.is_probe("d")
    assert not breaker.is_probe("e")
    assert not breaker.may_probe(99.0)
    assert breaker.probe_due_s is None


def test_the_rest_between_probes_doubles_up_to_the_interval() -> None:
    breaker, rests = out(), []
    for now_s in (20.0, 30.0, 40.0, 50.0):
        breaker.probe("d")
        breaker.failed("d", at(now_s))
        assert breaker.probe_due_s is not None
        rests.append(breaker.probe_due_s - now_s)
    assert rests == [0.25, 0.5, 1.0, 1.0]


def test_a_probe_that_came_to_nothing_makes_way_for_another_at_once() -> None:
    breaker = out()
    breaker.probe("d")
    breaker.withdrawn("d")
    assert breaker.may_probe(10.125)


def test_what_was_in_flight_before_says_nothing_of_the_probe() -> None:
    breaker = out()
    breaker.probe("d")
    breaker.failed("early", at(12.0))
    breaker.withdrawn("earlier")
    assert not breaker.may_probe(99.0)


def test_a_rejected_probe_is_followed_by_the_next_at_once_and_the_outage_goes_on() -> None:
    breaker = out()
    breaker.probe("d")
    assert not breaker.rejected("d", at(12.0))
    assert breaker.state is OUT
    assert breaker.may_probe(12.0)


def test_an_endpoint_that_names_a_time_is_left_alone_until_then() -> None:
    breaker = failing(*"abca")
    breaker.failed("c", at(10.0), retry_after_s=30.0)
    breaker.failed("d", at(11.0), retry_after_s=5.0)
    assert breaker.probe_due_s == 40.0


def test_the_time_it_named_in_one_outage_is_not_waited_for_in_the_next() -> None:
    breaker = failing(*"abca")
    breaker.failed("c", at(10.0), retry_after_s=300.0)
    breaker.succeeded()
    for lane in "abcab":
        breaker.failed(lane, at(20.0))
    assert breaker.probe_due_s == 20.125


# The brake


def test_so_many_rejections_in_a_row_are_dead_lettered_and_no_more() -> None:
    breaker = Breaker(RULES)
    assert [breaker.rejected(lane, at(10.0)) for lane in "ababab"] == [False] * 4 + [True] * 2
    assert (breaker.state, breaker.rejections, breaker.braked) == (ALL_REJECTED, 4, 1)


def test_the_brake_needs_enough_lanes_and_engages_with_the_first_record_of_one_more() -> None:
    breaker = Breaker(RULES)
    assert not any(breaker.rejected("a", at(10.0)) for _ in range(99))
    assert breaker.rejected("b", at(10.0))


def test_a_success_between_begins_the_count_of_rejections_again() -> None:
    breaker = rejecting(*"abab")
    breaker.succeeded()
    assert not any(breaker.rejected(lane, at(10.0)) for lane in "abab")


def test_where_it_is_off_there_is_no_bound() -> None:
    breaker = Breaker(BreakerRules(rejections_max=0))
    assert not any(breaker.rejected(number, at(10.0)) for number in range(1_000))


def test_the_brake_is_reported_with_its_last_reason_and_released_by_a_success() -> None:
    breaker = braked()
    breaker.succeeded()
    assert breaker.transitions == [
        Transition(before=UP, after=ALL_REJECTED, since=BEGAN, reason="a rejected", rejections=4),
        Transition(before=ALL_REJECTED, after=UP, since=BEGAN, reason="a rejected", rejections=4),
    ]
    assert breaker.rejections == 0


def test_probes_go_on_while_everything_is_rejected() -> None:
    breaker = braked()
    assert breaker.may_probe(10.125)
    breaker.probe("c")
    assert breaker.rejected("c", at(20.0))
    assert breaker.probe_due_s == 20.25


def test_failures_while_everything_is_rejected_change_nothing() -> None:
    breaker = braked()
    for lane in "abcdefgh":
        breaker.failed(lane, at(20.0))
    breaker.pause(at(20.0))
    assert (breaker.state, breaker.opened) == (ALL_REJECTED, 0)


def test_an_outage_that_turns_into_rejections_engages_the_brake() -> None:
    breaker = out()
    assert [breaker.rejected(lane, at(11.0)) for lane in "ababa"] == [False] * 4 + [True]
    assert breaker.state is ALL_REJECTED


def test_an_operator_accepts_the_rejections_until_the_next_success() -> None:
    breaker = braked()
    breaker.transitions.clear()
    breaker.accept(at(20.0))
    assert breaker.state is UP
    assert breaker.is_accepted
    assert [each.accepted for each in breaker.transitions] == [True]
    assert not any(breaker.rejected(lane, at(21.0)) for lane in "ab" * 50)
    breaker.succeeded()
    assert not breaker.is_accepted
    assert [breaker.rejected(lane, at(22.0)) for lane in "ababa"] == [False] * 4 + [True]


def test_who_accepted_in_advance_is_told_when_that_ends() -> None:
    breaker = failing()
    breaker.accept(at(20.0))
    breaker.succeeded()
    assert [(each.before, each.after) for each in breaker.transitions] == [(UP, UP)]


def test_a_brake_of_before_engages_again_with_its_own_story() -> None:
    breaker = failing()
    breaker.brake(at(50.0), since=at(10.0), rejections=100, reason="no such field")
    assert (breaker.state, breaker.since, breaker.rejections) == (ALL_REJECTED, at(10.0), 100)
    assert breaker.reason == "no such field"
    breaker.brake(at(51.0), since=at(9.0), rejections=100, reason="no such field")
    assert breaker.braked == 1


@pytest.mark.parametrize("is_braked", [True, False])
def test_a_success_of_another_daemon_releases_it(is_braked: bool) -> None:
    breaker = braked() if is_braked else failing()
    assert breaker.release(10_000)
    assert breaker.state is UP
    assert len(breaker.transitions) == 2 * is_braked


def test_a_success_of_before_does_not_release_it() -> None:
    breaker = braked()
    assert not breaker.release(9_999)
    assert breaker.state is ALL_REJECTED
    breaker = failing()
    breaker.brake(at(50.0), at(10.0), 100, "no such field", engaged_ms=20_000)
    assert not breaker.release(19_999)
    assert breaker.release(20_000)


def test_it_shows_its_state() -> None:
    assert repr(failing("a")) == "<Breaker up failing=1 opened=0>"
    assert repr(out()) == "<Breaker endpoint-out failing=3 opened=1>"
