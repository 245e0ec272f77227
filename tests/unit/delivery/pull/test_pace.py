"""The pace of recent events."""

import pytest

from mpsd.delivery.pull.leases import Pace
from mpsd.delivery.pull.peers import is_ahead


def test_a_steady_pace_is_its_count_in_a_window() -> None:
    pace = Pace(10.0)
    for tenth in range(1_000):
        pace.count(1_000.0 + tenth / 10)
    assert pace.lately(1_100.0) == pytest.approx(100, abs=2)


def test_what_is_long_ago_is_forgotten_and_never_less_than_nothing() -> None:
    pace = Pace(10.0)
    assert pace.lately(5.0) == 0
    pace.count(5.0)
    assert pace.lately(9.9) == 1
    assert pace.lately(15.0) == 0.5
    assert pace.lately(20.1) == 0
    assert pace.lately(1e9) == 0


@pytest.mark.parametrize(
    ("share", "own", "is_given"),
    [
        (None, 100.0, True),
        ("0.000", 0.0, True),
        ("1.000", 0.0, True),
        ("1.000", 1.0, False),
        ("125.000", 100.0, True),
        ("124.000", 100.0, False),
        ("nan", 0.0, False),
        ("-1", 0.0, False),
        ("many", 0.0, False),
    ],
)
def test_who_gave_more_of_its_own_is_owed(share: str | None, own: float, is_given: bool) -> None:
    assert is_ahead(share, own) is is_given
