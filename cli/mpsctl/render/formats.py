"""Short forms of numbers, times, keys and foreign texts."""

from datetime import UTC, datetime

from mpsctl.views.fleet import Provenance, RecordRef, Selection

NONE = "-"
HIDDEN = "hidden"
"""Text in place of content that the caller may not see."""


def count(number: float) -> str:
    """Format a count, up to ten million in full."""
    if number < 10_000_000:
        return f"{number:,.0f}"
    return f"{number / 1e6:,.1f}M" if number < 10e9 else f"{number / 1e9:,.1f}G"


def number(of: int, what: str) -> str:
    """Format a number of things, such as `1 record` or `2 records`; `what` is the singular."""
    return f"{count(of)} {what}{'' if of == 1 else 's'}"


def records(of: int) -> str:
    return number(of, "record")


def size(number: int) -> str:
    """Format a number of bytes."""
    for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= step:
            return f"{number / step:.1f} {unit}"
    return f"{number} B"


def rate(per_s: float) -> str:
    if per_s <= 0:
        return "0/s"
    return f"{per_s:.2g}/s" if per_s < 1 else f"{count(per_s)}/s" if per_s >= 10 else f"{per_s:.1f}/s"


def span(seconds: float | None) -> str:
    """Format a length of time in at most two units."""
    if seconds is None:
        return NONE
    if seconds < 1:
        return f"{seconds:.1f}s" if seconds >= 0.05 else "0s"
    total = round(seconds)
    days, rest = divmod(total, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    first = next(index for index, (number, _) in enumerate(parts) if number)
    return "".join(f"{number}{unit}" for number, unit in parts[first : first + 2] if number)


def ago(when: datetime | None, now: datetime) -> str:
    if when is None:
        return "at an unknown time"
    seconds = (now - when).total_seconds()
    return "just now" if seconds < 1 else f"{span(seconds)} ago"


def ahead(when: datetime | None, now: datetime) -> str:
    """Format the time left until a moment."""
    return NONE if when is None else span(max(0.0, (when - now).total_seconds()))


def clock(when: datetime | None, now: datetime) -> str:
    """Format a time in this machine's time zone, with the date if it is not today."""
    if when is None:
        return NONE
    local, today = when.astimezone(), now.astimezone()
    return local.strftime("%H:%M:%S" if local.date() == today.date() else "%Y-%m-%d %H:%M")


def utc_now() -> datetime:
    return datetime.now(UTC)


def printable(text: str) -> str:
    """Return a foreign text with its control characters spelt out, so that a terminal obeys none of them."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _SPELT.get(char) or ascii(char)[1:-1] for char in text)


_SPELT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def key(text: str | None, text_base64: str | None, *, hidden: bool = False) -> str:
    """Format a key: as `base64:…` if it is not a text, and as `hidden` if the caller may not see it."""
    if hidden and text_base64 is None:
        return HIDDEN
    if text_base64 is None:
        return NONE
    if text is None or not text.isprintable():
        return f"base64:{text_base64}"
    return text or '""'


def body(text: str | None, text_base64: str | None) -> str:
    """Format a value, or the excerpt of an answer."""
    if text_base64 is None:
        return NONE
    return f"base64:{text_base64}" if text is None else printable(text)


def record(ref: RecordRef | None) -> str:
    return NONE if ref is None else ref.name()


def selection_text(of: Selection) -> str:
    """Format a selection: a subscription, or a part of it."""
    parts = [of.subscription]
    if of.topic is not None:
        parts.append(f"topic {of.topic}" if of.partition is None else f"partition {of.topic}/{of.partition}")
    if of.key_base64 is not None or of.content_hidden:
        parts.append(f"key {key(of.key, of.key_base64, hidden=of.content_hidden)}")
    return ", ".join(parts)


def by_whom(provenance: Provenance, now: datetime) -> str:
    """Format author, time and reason of a change: `by anna 3m ago: deploying`."""
    reason = f": {printable(provenance.reason)}" if provenance.reason else ""
    return f"by {printable(provenance.who or 'an unknown author')} {ago(provenance.changed_at, now)}{reason}"


def length(seconds: float) -> str:
    """Format a length of time that an operator gave, with parts of a second."""
    return f"{seconds:g}s" if seconds % 1 else span(seconds)


def listed(texts: list[str], largest: int = 5) -> str:
    """Format the first entries, and the number of further ones."""
    rest = len(texts) - largest
    return ", ".join(map(printable, texts[:largest])) + (f" and {rest} more" if rest > 0 else "")


def limit_text(rate_max_per_s: float | None, concurrency_max: int | None) -> str:
    """Format the limits of a subscription: `200/s, 16 at once a daemon`."""
    parts = []
    if rate_max_per_s is not None:
        parts.append(rate(rate_max_per_s) if rate_max_per_s else "any rate")
    if concurrency_max is not None:
        parts.append(f"{count(concurrency_max)} at once a daemon")
    return ", ".join(parts) or "the configured values"
