"""Parsers of arguments. Each raises `typer.BadParameter`, whose message shows a valid value."""

import base64
import binascii
import re
import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import typer

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|min|[smhdw]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|min|[smhdw])")
_RATE = re.compile(r"(?P<count>\d+(?:\.\d+)?)(?:/(?P<unit>s|m|min|h))?")
_TOPIC = r"[A-Za-z0-9._-]{1,249}"
_RECORD = re.compile(rf"(?P<topic>{_TOPIC})/(?P<partition>\d{{1,10}})@(?P<offset>\d{{1,19}})")
_PARTITION = re.compile(rf"(?:(?P<topic>{_TOPIC})/)?(?P<partition>\d{{1,10}})")
PARTITION_MAX = 2**31 - 1
OFFSET_MAX = 2**63 - 1
RATE_MAX_PER_S = 1_000_000.0
KEY_BYTES_MAX = 65_536
REASON_BYTES_MAX = 1_024
"""Bounds of the proto, so that no request is sent that the daemon would refuse."""


class Partition(NamedTuple):
    """A partition as an operator types it: `3`, or `orders/3`."""

    topic: str | None
    partition: int


class RecordName(NamedTuple):
    """A record as an operator types it: `orders/3@1842`."""

    topic: str
    partition: int
    offset: int


def duration(text: str) -> float:
    """Return the seconds of `90s`, `30m`, `1h30m`, `2d`."""
    if not _DURATION.fullmatch(text.strip()):
        raise typer.BadParameter(f"{text!r} is not a duration; write 90s, 30m, 1h30m or 2d")
    return sum(float(number) * UNITS_S[unit] for number, unit in _PART.findall(text))


def rate(text: str) -> float:
    """Return the records per second of `200/s`, `200`, `12/m`; 0.0 for `none`."""
    if text.strip().lower() == "none":
        return 0.0
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a rate; write 200/s, 12/m, or none")
    per_s = float(found["count"]) / UNITS_S[found["unit"] or "s"]
    if not per_s:
        raise typer.BadParameter(f"{text!r} would stop all deliveries; use `mpsctl pause`, or write none for no limit")
    if not 0.001 <= per_s <= RATE_MAX_PER_S:
        raise typer.BadParameter(f"{text!r} is out of range: 0.001/s to {RATE_MAX_PER_S:,.0f}/s, or none")
    return per_s


def moment(text: str) -> datetime:
    """Return a time in the past, given as `2h` (ago), or in RFC 3339; without a time zone it is local time."""
    text = text.strip()
    if _DURATION.fullmatch(text):
        try:
            return datetime.fromtimestamp(time.time() - duration(text), UTC)
        except (OverflowError, ValueError, OSError):
            raise typer.BadParameter(f"{text!r} is too long ago") from None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a time; write 2h for two hours ago, 2026-11-22T14:00:00Z, or 2026-11-22T14:00 for local time"
        ) from None
    when = when.astimezone(UTC)  # without a zone: local time
    if when > datetime.now(UTC) + timedelta(seconds=60):  # clocks differ a little
        raise typer.BadParameter(f"{text} is in the future")
    return when


def record(text: str) -> RecordName:
    """Parse `orders/3@1842`."""
    found = _RECORD.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a record; write TOPIC/PARTITION@OFFSET, such as orders/3@1842")
    return RecordName(
        found["topic"], _bounded("partition", found["partition"], PARTITION_MAX), _bounded("offset", found["offset"])
    )


def offsets(text: str) -> list[RecordName]:
    """Parse `orders/0@100,orders/1@200`: for each partition the next offset to be delivered."""
    named = [record(part) for part in text.replace(",", " ").split()]
    if len({each[:2] for each in named}) < len(named):
        raise typer.BadParameter(f"{text!r} names a partition twice")
    return named


def partition(text: str) -> Partition:
    """Parse `3` or `orders/3`."""
    found = _PARTITION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a partition; write a number, or TOPIC/PARTITION such as orders/3")
    return Partition(found["topic"], _bounded("partition", found["partition"], PARTITION_MAX))


def key(text: str | None, text_base64: str | None) -> bytes | None:
    """Return the bytes of the key from the option that was given; None if neither was."""
    if text is not None and text_base64 is not None:
        raise typer.BadParameter("give --key or --key-base64, not both")
    if text_base64 is not None:
        try:
            found = base64.b64decode(text_base64, validate=True)
        except (binascii.Error, ValueError):
            raise typer.BadParameter(f"{text_base64!r} is not base64", param_hint="--key-base64") from None
    elif text is not None:
        found = text.encode("utf-8", "surrogateescape")  # keeps bytes of the command line that are not UTF-8
    else:
        return None
    if len(found) > KEY_BYTES_MAX:
        raise typer.BadParameter(f"the key has {len(found):,} bytes; {KEY_BYTES_MAX:,} at most", param_hint="--key")
    return found


def reason(text: str) -> str:
    """Parse a reason of 1 to 1,024 bytes."""
    text = text.strip()
    size = len(text.encode("utf-8", "replace"))
    if not text:
        raise typer.BadParameter("the reason is empty; write one for other operators")
    if size > REASON_BYTES_MAX:
        raise typer.BadParameter(f"the reason has {size:,} bytes; {REASON_BYTES_MAX:,} at most")
    return text.encode("utf-8", "replace").decode()


def _bounded(what: str, digits: str, largest: int = OFFSET_MAX) -> int:
    number = int(digits)
    if number > largest:
        raise typer.BadParameter(f"{what} {digits} is out of range: 0 to {largest}")
    return number
