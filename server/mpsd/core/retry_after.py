"""`Retry-After`: seconds, or a date in any form that applications write.

HTTP knows whole seconds and dates in three forms. Applications also send decimals, dates of mail (an offset for `GMT`) and
dates of RFC 3339, all of which say plainly when to come again. A text that says nothing still asks for less.

Source: RFC 9110, sections 10.2.3 and 5.6.7; RFC 5322, section 3.3; RFC 3339, section 5.6.
"""

import re
from datetime import UTC, datetime

UNREADABLE_S = 1.0
"""The wait where a text says nothing: somebody asked for a pause, so the next attempt is not made at once."""
CHARACTERS_MAX = 64
"""Characters that are looked at; the longest date has 40."""

_SECONDS = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20}")
_CLOCK = r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_ZONE = r"(?: (?:GMT|UTC?|Z|(?P<sign>[+-])(?P<ahead>[0-9]{4})))"
_DATES = tuple(
    re.compile(form, re.IGNORECASE | re.ASCII)
    for form in (
        r"(?:[a-z]{3,9}, ?)?(?P<day>[0-9]{1,2})[ -](?P<month>[a-z]{3})[ -](?P<year>[0-9]{4}|[0-9]{2}) "
        + _CLOCK
        + _ZONE,
        r"[a-z]{3} (?P<month>[a-z]{3}) (?P<day>[ 0-9]?[0-9]) " + _CLOCK + _ZONE + "? (?P<year>[0-9]{4})",
    )
)
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|z|[+-][0-9]{2}:[0-9]{2})"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def retry_after_s(text: str, now_s: float, max_s: float) -> float | None:
    """Return how long to wait, at most `max_s`.

    None for no text, 0.0 for a date that has passed, `UNREADABLE_S` for a text that is neither seconds nor a date.

    Args:
        now_s: the wall clock, seconds since the epoch.
    """
    text = text.strip(" \t")
    if not text:
        return None
    wait_s = _wait_s(text, now_s)
    return min(UNREADABLE_S if wait_s is None else wait_s, max_s)


def is_readable(text: str, now_s: float) -> bool:
    """Return False for a text that is neither seconds nor a date."""
    text = text.strip(" \t")
    return not text or _wait_s(text, now_s) is not None


def _wait_s(text: str, now_s: float) -> float | None:
    if len(text) > CHARACTERS_MAX:
        return None
    if _SECONDS.fullmatch(text):
        return float(text)
    at_s = _date_s(text, now_s)
    return None if at_s is None else max(at_s - now_s, 0.0)


def _date_s(text: str, now_s: float) -> float | None:
    try:
        if _RFC_3339.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp()
        for form in _DATES:
            if found := form.fullmatch(text):
                return _date_of(found, now_s)
    except (ValueError, OverflowError):
        pass
    return None


def _date_of(found: re.Match[str], now_s: float) -> float:
    year = int(found["year"])
    if len(found["year"]) == 2:
        year = _full_year(year, datetime.fromtimestamp(now_s, UTC).year)
    month = _MONTHS.index(found["month"].lower()) + 1
    clock = (int(found["hour"]), int(found["minute"]), min(int(found["second"]), 59))  # 60 is a leap second
    at_s = datetime(year, month, int(found["day"]), *clock, tzinfo=UTC).timestamp()
    if found["ahead"] is None:
        return at_s
    ahead_s = int(found["ahead"][:2]) * 3_600 + int(found["ahead"][2:]) * 60
    return at_s - ahead_s if found["sign"] == "+" else at_s + ahead_s


def _full_year(two_digits: int, this_year: int) -> int:
    """Return the year; one that seems more than 50 years ahead is the last one in the past that ends in the two digits."""
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year
