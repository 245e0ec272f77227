"""Lines of bars."""

import pytest

from mpsctl.render.page import INDENT
from mpsctl.render.trend import POINTS_MAX, Trends, bars
from mpsctl.views.status import Status
from tests.unit.mpsctl import fleet


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], ""),
        ([0, 0], "▁▁"),
        ([5], "█"),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇██"),
        ([0.1, 1_000], "▁█"),
    ],
)
def test_the_largest_is_the_highest(values: list[float], shown: str) -> None:
    assert bars(values) == shown


def test_a_trend_is_of_what_was_seen_lately_and_fits_80_columns() -> None:
    trends, message = Trends(), fleet.status()
    assert trends.text("billing") == ""
    for lag in range(100):
        message.subscriptions[0].flow.lag_records = lag
        trends.add(Status.of(message))
    text = trends.text("billing")
    assert text.startswith(f"rate {'█' * POINTS_MAX}  lag ▆")
    assert text.endswith("█")
    assert len(INDENT + text) <= 80


def test_a_subscription_that_is_gone_is_forgotten() -> None:
    trends, message = Trends(), fleet.status()
    for _ in range(2):
        trends.add(Status.of(message))
    del message.subscriptions[0]
    trends.add(Status.of(message))
    assert (trends.text("billing"), trends.text("mail") != "") == ("", True)
