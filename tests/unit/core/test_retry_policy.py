from dataclasses import replace

import pytest

from mpsd.core.breaker import ALL_REJECTED, OUT, BreakerRules
from mpsd.core.delivery import Delivery, FailureHistory, Replayed, ReplayedDelivery, Seat
from mpsd.core.outcome import Moment, Outcome, Unavailable
from mpsd.core.retry import DeadLetterRequest, Defer, Disposition, Retry, RetryRules, Verdict
from mpsd.core.retry_policy import (
    SUSPECT,
    UNDECIDED,
    FailingKeys,
    PolicyRules,
    Probation,
    RetryPolicy,
    Suspect,
    Throttle,
    Undecided,
)
from tests.fakes.records import (
    BUSY,
    FAILED,
    LOST,
    POISON,
    PRODUCED_MS,
    REFUSED,
    TAKEN_BACK,
    TOO_WIDE,
    Row,
    assigned,
    delivery,
)

EXHAUSTED = DeadLetterRequest(disposition=Disposition.ATTEMPTS_EXHAUSTED, reason="failed")


def policy_rules(
    *,
    failing_key_after: int = 3,
    lanes_min: int = 3,
    failures_min: int = 3,
    attempts_max: int = 3,
    record_age_max_s: float = 0.0,
) -> PolicyRules:
    return PolicyRules(
        retry=RetryRules(
            attempts_max=attempts_max, backoff_initial_s=1.0, backoff_max_s=30.0, record_age_max_s=record_age_max_s
        ),
        breaker=BreakerRules(
            lanes_min=lanes_min,
            failures_min=failures_min,
            successes_between=5,
            probe_interval_s=1.0,
            rejections_max=2,
            rejection_lanes_min=1,
        ),
        crowding_attempts_max=2,
        failing_key_after=failing_key_after,
        failing_keys_max=10,
        lost_window_s=1.0,
        concurrency_max=8,
    )


def policy_of(
    *, failing_key_after: int = 3, lanes_min: int = 3, attempts_max: int = 3, record_age_max_s: float = 0.0
) -> RetryPolicy:
    return RetryPolicy(
        policy_rules(
            failing_key_after=failing_key_after,
            lanes_min=lanes_min,
            failures_min=lanes_min,
            attempts_max=attempts_max,
            record_age_max_s=record_age_max_s,
        )
    )


def at(now_s: float) -> Moment:
    return Moment(now_s, int(now_s * 1000), 1.0)


def judge(policy: RetryPolicy, of: Delivery, outcome: Outcome, now_s: float = 10.0) -> Verdict | Undecided:
    of.seat = Seat.IN_FLIGHT
    return policy.judge(of, outcome, at(now_s))


def lose(policy: RetryPolicy, *lost: Delivery, now_s: float) -> list[tuple[Delivery, Verdict | Suspect]]:
    """All lost at once, and what comes of it when the window is over."""
    for each in lost:
        assert judge(policy, each, LOST, now_s) is UNDECIDED
    return list(policy.judge_lost(at(now_s + 1.0)))


def alone(suspect: Delivery) -> Delivery:
    """Deliver the record as the only suspect."""
    assert suspect.failures is not None
    suspect.failures.group = 1
    return suspect


def several(count: int = 4) -> list[Delivery]:
    return [delivery(offset, b"k%d" % offset) for offset in range(count)]


def failures_of(made: Delivery) -> tuple[int, bool]:
    assert made.failures is not None
    return made.failures.attempts, made.failures.suspect


# A record that fails


def test_a_record_that_fails_is_tried_again_until_its_attempts_are_spent() -> None:
    policy, made = policy_of(), delivery()
    assert [judge(policy, made, FAILED) for _ in range(3)] == [Retry(after_s=1.0), Retry(after_s=2.0), EXHAUSTED]


def test_attempts_spent_elsewhere_count() -> None:
    assert judge(policy_of(), delivery(attempts=2), FAILED) == EXHAUSTED


def test_a_poison_pill_is_dead_lettered_at_once() -> None:
    made = delivery()
    assert judge(policy_of(), made, POISON) == DeadLetterRequest(
        disposition=Disposition.REJECTED, reason="no such customer"
    )
    assert failures_of(made) == (1, False)


def test_what_no_request_was_made_for_has_spent_no_attempt() -> None:
    made = delivery()
    assert judge(policy_of(), made, TOO_WIDE) == DeadLetterRequest(
        disposition=Disposition.UNDELIVERABLE, reason="headers over the bound"
    )
    assert failures_of(made) == (0, False)


def test_what_is_taken_back_costs_nothing_and_leaves_no_mark() -> None:
    policy, made = policy_of(), delivery()
    judge(policy, made, FAILED)
    assert judge(policy, made, TAKEN_BACK, 99.0) == Defer(after_s=0.0)
    assert made.failures is not None
    assert (made.failures.attempts, made.failures.last, made.failures.last_failed_at_ms) == (1, FAILED, 10_000)


def test_the_first_and_the_last_failure_are_remembered() -> None:
    policy, made = policy_of(), delivery()
    judge(policy, made, FAILED, 10.0)
    judge(policy, made, BUSY, 20.0)
    assert made.failures is not None
    assert (made.failures.first_failed_at_ms, made.failures.last_failed_at_ms, made.failures.last) == (
        10_000,
        20_000,
        BUSY,
    )


# The endpoint


def test_one_answer_about_many_records_is_one_failure_of_the_endpoint() -> None:
    policy, (first, *others) = policy_of(), several()
    for each in (first, *others):
        assert isinstance(judge(policy, each, replace(BUSY, request=1)), Defer)
        assert failures_of(each) == (0, False)
    assert not policy.breaker.is_open
    for each in others[:2]:
        judge(policy, each, BUSY)
    assert policy.breaker.is_open


def test_a_probe_that_shared_its_answer_makes_way_for_another() -> None:
    policy, probe = policy_of(lanes_min=1), delivery(1, b"b")
    judge(policy, delivery(), replace(BUSY, request=1), 10.0)
    policy.probe(probe)
    judge(policy, probe, replace(BUSY, request=1), 12.0)
    assert policy.breaker.may_probe(12.0)


def test_holds_rest_longer_and_longer() -> None:
    policy, made = policy_of(), delivery()
    assert [judge(policy, made, REFUSED) for _ in range(3)] == [Defer(after_s=s) for s in (1.0, 2.0, 4.0)]


def test_a_wait_that_the_endpoint_asks_for_is_granted_to_the_record_and_by_the_breaker() -> None:
    policy = policy_of(lanes_min=1)
    asks = Unavailable(code="status_503", reason="later", status=503, retry_after_s=60.0)
    assert judge(policy, delivery(), asks) == Defer(after_s=60.0)
    assert policy.breaker.probe_due_s == 70.0


def test_unavailable_to_one_record_while_others_succeed_is_about_the_record() -> None:
    policy, made = policy_of(), delivery()
    assert isinstance(judge(policy, made, REFUSED), Defer)
    for _ in range(5):
        policy.succeeded(delivery(1, b"b"))
    assert judge(policy, made, REFUSED) == Retry(after_s=1.0)
    assert failures_of(made) == (1, False)


def test_one_answer_to_many_is_one_pause_for_all_of_them() -> None:
    policy, asks = policy_of(), replace(BUSY, request=7)
    first, second = delivery(0, b"a"), delivery(1, b"b")
    assert policy.judge(first, asks, Moment(10.0, 10_000, 0.5)) == Defer(after_s=0.75)
    assert policy.judge(second, asks, Moment(10.25, 10_250, 1.0)) == Defer(after_s=0.5)
    assert policy.judge(delivery(2, b"c"), asks, Moment(20.0, 20_000, 1.0)) == Defer(after_s=0.0)
    assert policy.judge(delivery(3, b"d"), replace(BUSY, request=8), Moment(20.0, 20_000, 1.0)) == Defer(after_s=1.0)


def test_nobody_is_charged_for_an_answer_to_many() -> None:
    policy, made = policy_of(), delivery()
    judge(policy, made, replace(BUSY, request=1))
    for _ in range(5):
        policy.succeeded(delivery(1, b"b"))
    assert isinstance(judge(policy, made, replace(BUSY, request=2)), Defer)
    assert judge(policy, made, BUSY) == Retry(after_s=1.0)


def test_it_is_blamed_anew_only_after_as_many_successes_again() -> None:
    policy, made = policy_of(), delivery(attempts=1)
    for _ in range(2):
        judge(policy, made, REFUSED)
        for _ in range(4):
            policy.succeeded(delivery(1, b"b"))
    assert failures_of(made) == (1, False)
    policy.succeeded(delivery(1, b"b"))
    judge(policy, made, REFUSED)
    assert failures_of(made) == (2, False)
    assert isinstance(judge(policy, made, REFUSED), Defer)
    assert failures_of(made) == (2, False)


def test_what_was_in_flight_when_an_outage_began_and_ended_well_says_nothing() -> None:
    policy, made = policy_of(), delivery()
    assert isinstance(policy.judge(made, REFUSED, at(10.0)._replace(in_flight=5)), Defer)
    for _ in range(5):
        policy.succeeded(delivery(1, b"b"))
    assert isinstance(judge(policy, made, REFUSED), Defer)
    assert failures_of(made) == (0, False)


def test_nobody_is_blamed_while_the_breaker_is_open() -> None:
    policy, made = policy_of(), delivery(99, b"other")
    judge(policy, made, REFUSED)
    for _ in range(5):
        policy.succeeded(delivery(1, b"b"))
    for each in several(3):
        judge(policy, each, REFUSED)
    assert policy.breaker.is_open
    assert isinstance(judge(policy, made, REFUSED), Defer)
    assert failures_of(made) == (0, False)


def test_a_busy_endpoint_is_given_less_and_after_successes_more() -> None:
    policy = policy_of()
    judge(policy, delivery(), BUSY)
    assert policy.throttle.limit == 4
    judge(policy, delivery(1, b"b"), REFUSED, 99.0)
    assert policy.throttle.limit == 4
    for _ in range(4):
        policy.succeeded(delivery(2, b"c"))
    assert policy.throttle.limit == 5


@pytest.mark.parametrize("outcome", [FAILED, POISON])
def test_an_answer_that_is_no_success_ends_no_outage(outcome: Outcome) -> None:
    policy = policy_of(lanes_min=1)
    judge(policy, delivery(), REFUSED)
    judge(policy, delivery(1, b"b"), outcome)
    assert policy.breaker.state is OUT


@pytest.mark.parametrize("outcome", [FAILED, REFUSED, BUSY])
def test_an_outage_is_what_fails_for_everybody_whatever_the_answer(outcome: Outcome) -> None:
    policy, lanes = policy_of(), several()
    for each in lanes * 10:
        assert isinstance(judge(policy, each, outcome), Defer | Retry)
    assert [failures_of(each)[0] for each in lanes] == [0] * 4
    assert policy.breaker.state is OUT


def test_even_a_single_attempt_is_not_taken_once_enough_lanes_fail() -> None:
    policy, lanes = policy_of(attempts_max=1), several(6)
    assert [isinstance(judge(policy, each, FAILED), DeadLetterRequest) for each in lanes] == [True] * 2 + [False] * 4


def test_attempts_charged_since_the_last_success_are_given_back_when_an_outage_is_found() -> None:
    policy, (a, b, c, d) = policy_of(attempts_max=9), several()
    judge(policy, a, FAILED)
    policy.succeeded(d)
    judge(policy, a, FAILED)
    judge(policy, a, FAILED)
    judge(policy, b, FAILED)
    assert (failures_of(a)[0], failures_of(b)[0]) == (3, 1)
    judge(policy, c, FAILED)
    assert policy.breaker.state is OUT
    assert (failures_of(a)[0], failures_of(b)[0], failures_of(c)[0]) == (1, 0, 0)


def test_a_record_that_went_to_the_dead_letter_topic_gets_no_attempt_back() -> None:
    policy, (a, b, c, _) = policy_of(attempts_max=9), several()
    judge(policy, a, FAILED)
    policy.left(a)
    judge(policy, b, FAILED)
    judge(policy, c, FAILED)
    assert policy.breaker.state is OUT
    assert (failures_of(a)[0], failures_of(b)[0], failures_of(c)[0]) == (1, 0, 0)


def test_an_endpoint_that_is_back_for_a_moment_costs_a_waiting_record_nothing() -> None:
    policy, lanes = policy_of(attempts_max=9), several(6)
    for each in lanes:
        judge(policy, each, REFUSED)
    assert policy.breaker.state is OUT
    for _ in range(50):
        policy.succeeded(delivery(99, b"good"))
    assert not policy.breaker.is_open
    for each in lanes:
        judge(policy, each, REFUSED)
    assert policy.breaker.state is OUT
    assert [failures_of(each)[0] for each in lanes] == [0] * 6


def test_the_last_attempt_of_a_record_is_not_taken_while_many_lanes_fail() -> None:
    policy, (a, b, c, _) = RetryPolicy(policy_rules(failures_min=99, attempts_max=2)), several()
    assert [judge(policy, each, FAILED) for each in (a, b, c)] == [Retry(after_s=1.0)] * 3
    assert not policy.breaker.is_open
    assert isinstance(judge(policy, a, FAILED), Defer)
    assert policy.breaker.state is OUT
    assert [failures_of(each)[0] for each in (a, b, c)] == [0, 0, 0]


def test_a_record_that_fails_while_others_succeed_dies_and_is_no_sign_of_an_outage() -> None:
    policy, poisons = policy_of(), several(3)
    for each in poisons:
        judge(policy, each, FAILED)
        for _ in range(5):
            policy.succeeded(delivery(99, b"good"))
    for each in poisons:
        assert judge(policy, each, FAILED) == Retry(after_s=2.0)
    assert not policy.breaker.is_open
    assert [judge(policy, each, FAILED) for each in poisons] == [EXHAUSTED] * 3


def test_a_lane_that_crowds_its_partition_gets_fewer_attempts() -> None:
    policy, made = policy_of(attempts_max=9), delivery()
    crowding = at(10.0)._replace(is_crowding=True)
    assert policy.judge(made, FAILED, crowding) == Retry(after_s=1.0)
    assert policy.judge(made, FAILED, crowding) == EXHAUSTED


# Rejections


def test_after_so_many_rejections_in_a_row_the_next_wait_and_spend_nothing() -> None:
    policy, made = policy_of(), several(4)
    verdicts = [judge(policy, each, POISON) for each in made]
    assert [isinstance(verdict, DeadLetterRequest) for verdict in verdicts] == [True, True, False, False]
    assert verdicts[2] == Defer(after_s=1.0)
    assert [failures_of(each)[0] for each in made] == [1, 1, 0, 0]
    assert policy.breaker.state is ALL_REJECTED
    assert judge(policy, made[3], POISON) == Defer(after_s=1.0), "no longer than until the next probe"


def test_one_success_lets_rejections_be_dead_lettered_again() -> None:
    policy, made = policy_of(), several(4)
    for each in made:
        judge(policy, each, POISON)
    policy.succeeded(delivery(99, b"good"))
    assert isinstance(judge(policy, made[2], POISON), DeadLetterRequest)
    assert isinstance(judge(policy, made[3], POISON), DeadLetterRequest)


@pytest.mark.parametrize("outcome", [TAKEN_BACK, TOO_WIDE])
def test_a_probe_that_never_left_makes_way_for_another(outcome: Outcome) -> None:
    policy, probe = policy_of(lanes_min=1), delivery(1, b"b")
    judge(policy, delivery(), REFUSED)
    policy.probe(probe)
    assert not policy.breaker.may_probe(99.0)
    judge(policy, probe, outcome)
    assert policy.breaker.is_open
    assert policy.breaker.may_probe(99.0)


def test_records_without_a_lane_fail_each_for_itself() -> None:
    policy = policy_of()
    for offset in range(3):
        judge(policy, delivery(offset, None), REFUSED)
    assert policy.breaker.is_open


# Deliveries without an answer


def test_one_lost_alone_is_charged_when_its_window_is_over() -> None:
    policy, made = policy_of(), delivery()
    assert judge(policy, made, LOST) is UNDECIDED
    assert policy.lost_due_s == 11.0
    assert list(policy.judge_lost(at(10.5))) == []
    assert list(policy.judge_lost(at(11.0))) == [(made, Retry(after_s=1.0))]
    assert failures_of(made) == (1, False)


def test_one_event_blames_nobody() -> None:
    policy, both = policy_of(), several(2)
    assert lose(policy, *both, now_s=10.0) == [(each, SUSPECT) for each in both]
    assert [failures_of(each) for each in both] == [(0, True), (0, True)]


def test_a_suspect_lost_again_is_charged_and_stays_under_suspicion() -> None:
    policy, (suspect, other) = policy_of(), several(2)
    lose(policy, suspect, other, now_s=10.0)
    bystander = delivery(9, b"z")
    assert lose(policy, bystander, alone(suspect), now_s=20.0) == [(suspect, Retry(after_s=1.0)), (bystander, SUSPECT)]
    assert failures_of(suspect) == (1, True)
    assert failures_of(bystander) == (0, True)


def test_suspects_lost_out_of_one_group_are_not_charged() -> None:
    policy, group = policy_of(), several(2)
    lose(policy, *group, now_s=10.0)
    for each in group:
        assert each.failures is not None
        each.failures.group = 2
    assert lose(policy, *group, now_s=20.0) == [(each, SUSPECT) for each in group]
    assert [failures_of(each) for each in group] == [(0, True), (0, True)]


def test_a_suspect_that_was_answered_is_cleared() -> None:
    policy, (suspect, other) = policy_of(), several(2)
    lose(policy, suspect, other, now_s=10.0)
    judge(policy, suspect, FAILED, 20.0)
    assert failures_of(suspect) == (1, False)


def test_a_suspect_that_could_not_be_delivered_is_not_cleared_by_that() -> None:
    policy, (suspect, other) = policy_of(), several(2)
    lose(policy, suspect, other, now_s=10.0)
    assert judge(policy, suspect, REFUSED, 20.0) == Defer(after_s=1.0)
    assert judge(policy, suspect, TAKEN_BACK, 20.0) == Defer(after_s=0.0)
    assert failures_of(suspect) == (0, True)


def test_a_crash_that_opens_the_breaker_still_charges_the_suspect_that_was_in_it() -> None:
    policy, (poison, *others) = policy_of(), several(8)
    lose(policy, poison, *others[:1], now_s=10.0)
    alone(poison)
    for each in others:
        judge(policy, each, LOST, 20.0)
    assert policy.breaker.is_open
    assert judge(policy, poison, LOST, 20.5) is UNDECIDED
    assert (poison, Retry(after_s=1.0)) in list(policy.judge_lost(at(21.0)))
    assert {failures_of(each) for each in others[1:]} == {(0, True)}


def test_one_lost_alone_in_an_outage_is_not_charged() -> None:
    policy = policy_of()
    judge(policy, lost := delivery(), LOST, 10.0)
    for each in several(4)[1:]:
        judge(policy, each, REFUSED, 10.5)
    assert policy.breaker.is_open
    assert list(policy.judge_lost(at(11.0))) == [(lost, SUSPECT)]
    assert failures_of(lost) == (0, True)


def test_a_probe_lost_in_an_outage_is_not_charged_and_waits_behind_the_other_suspects() -> None:
    policy, probe = policy_of(lanes_min=1), delivery(1, b"b")
    judge(policy, delivery(), REFUSED, 10.0)
    policy.probe(probe)
    assert judge(policy, probe, LOST, 12.0) == Defer(after_s=0.0)
    assert failures_of(probe) == (0, True)
    assert policy.lost_due_s is None
    assert policy.breaker.probe_due_s == 12.25
    assert probe.failures is not None
    assert probe.failures.group == 1, "lost alone, it goes alone from then on"


def test_what_was_in_flight_when_an_outage_began_is_no_probe() -> None:
    policy, late = policy_of(lanes_min=1), delivery(1, b"b")
    judge(policy, delivery(), REFUSED, 10.0)
    assert judge(policy, late, LOST, 12.0) == Defer(after_s=0.0)
    assert late.failures is not None
    assert (late.failures.suspect, late.failures.group) == (True, 0)


# Keys that always fail


def exhaust(policy: RetryPolicy, lane: bytes | None, records: int) -> None:
    for offset in range(records):
        made = delivery(offset, lane)
        while not isinstance(judge(policy, made, FAILED), DeadLetterRequest):
            policy.succeeded(delivery(1_000, b"other"))


def test_after_enough_exhausted_records_of_a_key_its_next_get_one_attempt() -> None:
    policy = policy_of()
    exhaust(policy, b"a", 2)
    assert judge(policy, delivery(7), FAILED) == Retry(after_s=1.0)
    exhaust(policy, b"a", 1)
    assert judge(policy, delivery(8), FAILED) == EXHAUSTED


def test_a_success_gives_the_key_its_attempts_back() -> None:
    policy = policy_of()
    exhaust(policy, b"a", 3)
    policy.succeeded(delivery(7))
    assert judge(policy, delivery(8), FAILED) == Retry(after_s=1.0)


def test_records_without_a_lane_are_never_sick() -> None:
    policy = policy_of()
    exhaust(policy, None, 10)
    assert judge(policy, delivery(99, None), FAILED) == Retry(after_s=1.0)


def test_a_poison_pill_does_not_make_its_key_sick() -> None:
    policy = policy_of(failing_key_after=1)
    judge(policy, delivery(0), POISON)
    assert judge(policy, delivery(1), FAILED) == Retry(after_s=1.0)


def test_a_partition_that_leaves_takes_its_failing_keys_along() -> None:
    policy = policy_of()
    exhaust(policy, b"a", 3)
    policy.forget(assigned(0).tp)
    assert judge(policy, delivery(9), FAILED) == Retry(after_s=1.0)


# Age


@pytest.mark.parametrize(
    ("age_max_s", "timestamp", "age_s", "expired"),
    [
        (60.0, PRODUCED_MS, 60.001, True),
        (60.0, PRODUCED_MS, 60.0, False),
        (60.0, -1, 60.001, False),
        (0.0, PRODUCED_MS, 1e9, False),
    ],
)
def test_a_record_expires_only_where_an_age_is_set_and_its_own_is_known(
    age_max_s: float, timestamp: int, age_s: float, expired: bool
) -> None:
    policy = policy_of(record_age_max_s=age_max_s)
    assert policy.is_expired(delivery(timestamp=timestamp), PRODUCED_MS + round(age_s * 1000)) is expired


def test_a_policy_shows_what_it_thinks() -> None:
    policy = policy_of(lanes_min=1)
    assert policy.statistics() == {
        "breaker_opened": 0, "breaker_rejections": 0, "concurrency_limit": 8, "lost_undecided": 0,
        "failing_keys": 0,
    }  # fmt: skip
    judge(policy, delivery(), LOST)
    assert policy.statistics() == {
        "breaker_opened": 1, "breaker_rejections": 0, "concurrency_limit": 8, "lost_undecided": 1,
        "failing_keys": 0,
    }  # fmt: skip


def test_a_record_that_a_replay_brought_back_is_never_too_old() -> None:
    policy = policy_of(record_age_max_s=1.0)
    brought = ReplayedDelivery(
        Row(),
        assigned(),
        b"a",
        1,
        0.0,
        Replayed(replay="r1", replays=0, dead_letter_offset=0, on_finished=lambda _: None),
    )
    assert not policy.is_expired(brought, PRODUCED_MS + 1_000_000)


ORDERS = assigned(0).tp
OTHER = assigned(1).tp


def exhausting(times: int, threshold: int = 3, keys_max: int = 10) -> FailingKeys:
    keys = FailingKeys(threshold, keys_max)
    for _ in range(times):
        keys.exhausted(ORDERS, b"a")
    return keys


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


def test_a_threshold_of_zero_switches_it_off() -> None:
    keys = exhausting(99, threshold=0)
    assert not keys.is_failing(ORDERS, b"a")
    assert len(keys) == 0


def test_beyond_the_bound_the_key_that_failed_longest_ago_is_forgotten() -> None:
    keys = FailingKeys(1, 2)
    for lane in (b"a", b"b", b"a", b"c"):
        keys.exhausted(ORDERS, lane)
    assert [keys.is_failing(ORDERS, lane) for lane in (b"a", b"b", b"c")] == [True, False, True]


def charged(offset: int, attempts: int, partition: int = 0) -> Delivery:
    made = delivery(offset, assignment=assigned(partition))
    made.failures = FailureHistory(attempts=attempts)
    return made


def attempts(*made: Delivery) -> list[int]:
    return [each.failures.attempts for each in made if each.failures is not None]


def test_a_record_that_is_settled_otherwise_is_forgotten() -> None:
    probation, a = Probation(), charged(0, 5)
    probation.charged(a)
    probation.left(a)
    probation.left(a)
    assert not probation.charges


def test_a_partition_that_leaves_takes_its_records_along() -> None:
    probation, a, b = Probation(), charged(0, 1), charged(1, 1, partition=1)
    probation.charged(a)
    probation.charged(b)
    probation.forget(assigned(1).tp)
    probation.give_back()
    assert attempts(a, b) == [0, 1]


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
