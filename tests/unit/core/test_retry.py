import pytest

from mpsd.core.outcome import DELIVERED, Outcome, Retryable, Unavailable
from mpsd.core.retry import (
    ACK,
    DeadLetterRequest,
    Defer,
    Disposition,
    Retry,
    RetryRules,
    Verdict,
    backoff_s,
    decide,
    describe,
)
from tests.fakes.records import FAILED, POISON, REFUSED, TAKEN_BACK, TOO_WIDE

RULES = RetryRules(attempts_max=3, backoff_initial_s=1.0, backoff_max_s=30.0)


@pytest.mark.parametrize(
    ("outcome", "attempt", "deferrals", "verdict"),
    [
        (DELIVERED, 1, 0, ACK),
        (POISON, 1, 0, DeadLetterRequest(disposition=Disposition.REJECTED, reason="no such customer")),
        (TOO_WIDE, 1, 0, DeadLetterRequest(disposition=Disposition.UNDELIVERABLE, reason="headers over the bound")),
        (FAILED, 1, 0, Retry(after_s=0.75)),
        (FAILED, 2, 0, Retry(after_s=1.5)),
        (FAILED, 3, 0, DeadLetterRequest(disposition=Disposition.ATTEMPTS_EXHAUSTED, reason="failed")),
        (Retryable(code="x", reason="", retry_after_s=7.0), 1, 0, Retry(after_s=7.0)),
        (Retryable(code="x", reason="", retry_after_s=0.0), 1, 0, Retry(after_s=0.75)),
        (REFUSED, 99, 1, Defer(after_s=0.75)),
        (REFUSED, 0, 3, Defer(after_s=3.0)),
        (Unavailable(code="x", reason="", retry_after_s=7.0), 0, 1, Defer(after_s=7.0)),
        (TAKEN_BACK, 99, 0, Defer(after_s=0.0)),
    ],
)
def test_what_becomes_of_a_record(outcome: Outcome, attempt: int, deferrals: int, verdict: Verdict) -> None:
    assert decide(outcome, attempt, deferrals, RULES, jitter=0.5) == verdict


@pytest.mark.parametrize(("failures", "ceiling_s"), [(1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (10_000, 30.0)])
def test_the_ceiling_doubles_up_to_its_own(failures: int, ceiling_s: float) -> None:
    assert backoff_s(failures, RULES, jitter=1.0) == ceiling_s
    assert backoff_s(failures, RULES, jitter=0.0) == ceiling_s / 2
    assert backoff_s(failures, RULES, jitter=0.5) == ceiling_s * 3 / 4


def test_a_ceiling_below_the_first_back_off_holds_from_the_start() -> None:
    assert backoff_s(1, RetryRules(attempts_max=3, backoff_initial_s=5.0, backoff_max_s=2.0), jitter=1.0) == 2.0


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (ACK, "accepted"),
        (Retry(after_s=0.44), "attempt 2 failed, the next in 0.4 s"),
        (Defer(after_s=3.0), "not counted as an attempt, the next delivery in 3.0 s or once deliveries succeed"),
        (DeadLetterRequest(disposition=Disposition.REJECTED, reason="x"), "to the dead-letter topic as rejected"),
    ],
)
def test_a_verdict_can_be_read_by_people(verdict: Verdict, words: str) -> None:
    assert describe(verdict, 2) == words
