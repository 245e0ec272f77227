"""From the proto's values to plain ones, and from plain ones to JSON."""

import base64
import json
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from google.protobuf.duration_pb2 import Duration
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

Severity = Literal["ok", "warning", "error", "unknown"]
UNKNOWN = "unknown"
"""A word for what this version has no name for, as of a newer daemon."""


def word(enum: Any, number: int, *, hyphens: bool = False) -> Any:
    """Format an enum value: `REPLAY_STATE_RUNNING` as `running`; zero and unknown values as `unknown`."""
    wrapper: EnumTypeWrapper = enum
    if number == 0 or number not in wrapper.values():
        return UNKNOWN
    prefix = wrapper.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")
    name = wrapper.Name(number).removeprefix(prefix).lower()
    return name.replace("_", "-") if hyphens else name


def number_of(enum: Any, name: str) -> int:
    """Return the number of an enum value that `word` has formatted."""
    prefix = enum.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return int(enum.Value(prefix + name.upper().replace("-", "_")))


def time_of(message: Message, field: str) -> datetime | None:
    """Return the time of a timestamp field; None if it is absent."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):  # beyond year 9999
        return None


def seconds_of(message: Message, field: str) -> float | None:
    """Return the seconds of a duration field; None if it is absent."""
    if not message.HasField(field):
        return None
    span: Duration = getattr(message, field)
    return span.seconds + span.nanos / 1e9


def text_of(data: bytes | None) -> str | None:
    """Return bytes as text if they are UTF-8; else None."""
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None


def base64_of(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def optional(message: Message, field: str) -> Any:
    """Return a scalar field; None if it is absent."""
    return getattr(message, field) if message.HasField(field) else None


def as_json(value: object) -> str:
    """Return one document, indented."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def as_json_line(value: object) -> str:
    """Return one document on one line."""
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value
