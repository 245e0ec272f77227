import pytest

from mpsd.core.rate import TokenBucket


def test_without_a_limit_there_is_nothing_to_wait_for() -> None:
    bucket = TokenBucket(None, 0.0)
    bucket.spend(1_000_000)
    assert bucket.available(5.0) is None
    assert bucket.due_s(5.0) == 5.0


def test_it_begins_with_one_token() -> None:
    assert TokenBucket(10.0, 0.0).available(0.0) == 1


def test_tokens_come_at_the_rate() -> None:
    bucket = TokenBucket(10.0, 0.0)
    bucket.spend(1)
    assert bucket.available(0.05) == 0
    assert bucket.due_s(0.05) == pytest.approx(0.1)
    assert bucket.available(0.1) == 1


def test_a_token_that_is_there_is_due_now() -> None:
    assert TokenBucket(10.0, 0.0).due_s(3.0) == 3.0


def test_a_long_rest_saves_up_a_tenth_of_a_second_at_most() -> None:
    assert TokenBucket(1000.0, 0.0).available(3600.0) == 100
    assert TokenBucket(2.0, 0.0).available(3600.0) == 1


def test_on_average_the_rate_is_kept() -> None:
    bucket, let_through = TokenBucket(50.0, 0.0), 0
    for millisecond in range(10_000):
        tokens = bucket.available(millisecond / 1000)
        assert tokens is not None
        bucket.spend(tokens)
        let_through += tokens
    assert 499 <= let_through <= 501


def test_a_new_rate_counts_from_now_on() -> None:
    bucket = TokenBucket(10.0, 0.0)
    bucket.spend(1)
    bucket.set_rate(1.0, 0.05)
    assert bucket.due_s(0.05) == pytest.approx(0.55)


def test_a_share_of_nothing_lets_nothing_through() -> None:
    bucket = TokenBucket(10.0, 0.0)
    bucket.set_rate(0.0, 0.0)
    bucket.spend(1)
    assert bucket.available(3600.0) == 0
    assert bucket.due_s(3600.0) == float("inf")


def test_what_was_let_through_without_a_limit_is_not_owed_later() -> None:
    bucket = TokenBucket(None, 0.0)
    bucket.spend(1_000_000)
    bucket.set_rate(10.0, 5.0)
    assert bucket.available(5.1) == 1
