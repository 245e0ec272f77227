from datetime import UTC, datetime

import pytest

from mpsd.core.retry_after import retry_after_s

NOW_S = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7\t", 7.0),
        ("86400", 300.0),
        ("99999999999999999999", 300.0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sunday, 22-Nov-26 12:00:30 GMT", 30.0),
        ("Sun Nov 22 12:00:30 2026", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 22 Dec 2026 12:00:00 GMT", 300.0),
        ("Sun Nov  1 12:00:00 2026", 0.0),
        ("Sun, 22 Nov 2026 12:00:60 GMT", 59.0),
        ("Friday, 22-Nov-99 12:00:00 GMT", 0.0),
    ],
)
def test_seconds_and_dates_are_capped_waits(text: str, wait_s: float) -> None:
    assert retry_after_s(text, NOW_S, 300.0) == wait_s


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "1.5", "Sun, 31 Feb 2026 12:00:00 GMT", "Sun, 22 Xyz 2026 12:00:00 GMT", "1" * 21, "٣"]
)
def test_nonsense_says_nothing(text: str) -> None:
    assert retry_after_s(text, NOW_S, 300.0) is None
