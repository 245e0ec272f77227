from datetime import UTC, datetime

import pytest

from mpsd.core.retry_after import UNREADABLE_S, is_readable, retry_after_s

NOW_S = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7\t", 7.0),
        ("1.5", 1.5),
        ("0.25", 0.25),
        (".5", 0.5),
        ("2.", 2.0),
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
        ("sun, 22 nov 2026 12:00:30 gmt", 30.0),
        ("Sun, 22 Nov 2026 12:00:30 UTC", 30.0),
        ("Sun, 22 Nov 2026 13:00:30 +0100", 30.0),
        ("Sun, 22 Nov 2026 06:30:30 -0530", 30.0),
        ("22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22-Nov-2026 12:00:30 GMT", 30.0),
        ("Tue, 1 Dec 2026 12:00:30 GMT", 300.0),
        ("Sun Nov 22 12:00:30 UTC 2026", 30.0),
        ("2026-11-22T12:00:30Z", 30.0),
        ("2026-11-22t14:00:30.500+02:00", 30.5),
        ("2026-11-22 11:00:00Z", 0.0),
    ],
)
def test_seconds_and_dates_are_capped_waits(text: str, wait_s: float) -> None:
    assert retry_after_s(text, NOW_S, 300.0) == wait_s
    assert is_readable(text, NOW_S)


@pytest.mark.parametrize("text", ["", " ", "\t"])
def test_no_text_asks_for_nothing(text: str) -> None:
    assert retry_after_s(text, NOW_S, 300.0) is None
    assert is_readable(text, NOW_S)


@pytest.mark.parametrize(
    "text",
    [
        "soon",
        "-1",
        "1,5",
        "1e3",
        "5s",
        ".",
        "inf",
        "nan",
        "Sun, 31 Feb 2026 12:00:00 GMT",
        "Sun, 22 Xyz 2026 12:00:00 GMT",
        "Sun, 22 Nov 2026 25:00:00 GMT",
        "Sun, 22 Nov 0000 12:00:00 GMT",
        "Sun, 22 Nov 2026 12:00:00",
        "Sun, 22 Nov 2026 12:00:00 CET",
        "2026-11-22",
        "2026-11-22T12:00:30",
        "2026-02-31T12:00:30Z",
        "1" * 21,
        "1." + "1" * 100,
        "٣",
    ],
)
def test_nonsense_still_asks_for_a_pause(text: str) -> None:
    assert retry_after_s(text, NOW_S, 300.0) == UNREADABLE_S == 1.0
    assert retry_after_s(text, NOW_S, 0.5) == 0.5
    assert not is_readable(text, NOW_S)
