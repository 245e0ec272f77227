"""`Retry-After`: seconds, or a date in one of the three forms that HTTP knows.

Source: RFC 9110, sections 10.2.3 and 5.6.7.
"""

import re
from datetime import UTC, datetime

_SECONDS = re.compile(r"[0-9]{1,20}")
_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATES = (
    re.compile(r"[A-Z][a-z]{2}, (?P<day>[0-9]{2}) (?P<month>[A-Z][a-z]{2}) (?P<year>[0-9]{4}) " + _CLOCK + " GMT"),
    re.compile(r"[A-Z][a-z]{5,8}, (?P<day>[0-9]{2})-(?P<month>[A-Z][a-z]{2})-(?P<year>[0-9]{2}) " + _CLOCK + " GMT"),
    re.compile(r"[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) (?P<day>[ 0-9][0-9]) " + _CLOCK + " (?P<year>[0-9]{4})"),
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def retry_after_s(text: str, now_s: float, max_s: float) -> float | None:
    """How long to wait, at most `max_s`; 0.0 for a date that has passed, None for what is neither seconds nor a date.

    Args:
        now_s: the wall clock, seconds since the epoch.
    """
    text = text.strip(" \t")
    if _SECONDS.fullmatch(text):
        return min(float(text), max_s)
    at_s = _date_s(text, now_s)
    return None if at_s is None else min(max(at_s - now_s, 0.0), max_s)


def _date_s(text: str, now_s: float) -> float | None:
    for form in _DATES:
        if found := form.fullmatch(text):
            break
    else:
        return None
    try:
        year = int(found["year"])
        if len(found["year"]) == 2:
            year = _full_year(year, datetime.fromtimestamp(now_s, UTC).year)
        month = _MONTHS.index(found["month"]) + 1
        clock = (int(found["hour"]), int(found["minute"]), min(int(found["second"]), 59))  # 60 is a leap second
        return datetime(year, month, int(found["day"]), *clock, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _full_year(two_digits: int, this_year: int) -> int:
    """A year that seems more than 50 years ahead is the most recent one in the past with the same last two digits."""
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year
