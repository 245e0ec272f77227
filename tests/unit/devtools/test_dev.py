"""The daemon that `mpsd dev` runs."""

from pathlib import Path

from mpsd.devtools.dev import Plan, configuration


def test_however_many_records_are_rejected_each_gets_its_answer() -> None:
    plan = Plan(records=Path("records.jsonl"), url="http://127.0.0.1:8000/orders", attempts_max=2)
    (subscription,) = configuration(plan, ["127.0.0.1:9092"], "mps-dev").subscriptions
    assert (subscription.breaker.rejections_max, subscription.retry.attempts_max) == (0, 2)
