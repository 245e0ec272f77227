"""Views made of messages of the admin service, and JSON made of views."""

import base64
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache, partial
from operator import attrgetter
from types import NoneType
from typing import Any, Literal, Self, get_args, get_origin

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

Severity = Literal["ok", "warning", "error", "unknown"]
UNKNOWN = "unknown"
"""The name of each enum value that this version does not know, because a newer daemon sent it."""
Convert = Callable[[Any], Any]


class View:
    """An object of the JSON that is made of one message.

    Each field has the value of the message's field of the same name. A duration `x` is the field `x_s`; bytes `x` are a
    text `x`, if they are UTF-8, and `x_base64`. A field that may be null is null if the message has none, or an empty one
    that a message cannot tell from none.
    """

    __slots__ = ()

    @classmethod
    def of(cls, message: Any, **given: Any) -> Self:
        """Return the view of a message.

        Args:
            given: the fields that the message does not have.
        """
        make: Any = cls
        values = {**cls.other_values(message), **given}
        for name, read in _readers(make, message.DESCRIPTOR).items():
            if name not in values:
                values[name] = read(message)
        view: Self = make(**values)
        return view

    @classmethod
    def other_values(cls, _message: Any) -> dict[str, Any]:
        """Return the values of fields that do not follow the rule of the names."""
        return {}


@cache
def _readers(view: type[Any], message: Descriptor) -> dict[str, Convert]:
    """Return by name how to read each field of the view that the message has."""
    return {
        each.name: _reader(each.name, each.type, source)
        for each in fields(view)
        for source in [next(filter(None, map(message.fields_by_name.get, _names(each.name))), None)]
        if source is not None
    }


def _names(field: str) -> tuple[str, ...]:
    """Return the names that the field of a view may have in the message."""
    return field, field.removesuffix("_base64"), field.removesuffix("_s")


def _reader(name: str, kind: Any, source: FieldDescriptor) -> Convert:
    kinds = get_args(kind) or (kind,)
    convert, given, field = _converter(name, kinds, source), attrgetter(source.name), source.name
    if get_origin(kind) is tuple:
        return lambda message: tuple(map(convert, given(message)))
    if NoneType not in kinds:
        return given if convert is _unchanged else lambda message: convert(given(message))
    if source.has_presence:
        return lambda message: convert(given(message)) if message.HasField(field) else None
    return lambda message: convert(given(message)) if given(message) else None


def _converter(name: str, kinds: tuple[Any, ...], source: FieldDescriptor) -> Convert:
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, View):
            return kind.of
    if source.enum_type is not None:
        return partial(_name_of, source.enum_type)
    if source.message_type is not None:
        return _time_of if source.message_type is Timestamp.DESCRIPTOR else _seconds_of
    if source.type == FieldDescriptor.TYPE_BYTES:
        return _base64_of if name.endswith("_base64") else _text_of
    return _unchanged


def _name_of(enum: EnumDescriptor, number: int) -> str:
    """Return the name of an enum value: `running` for `REPLAY_STATE_RUNNING`."""
    if number == 0 or number not in enum.values_by_number:
        return UNKNOWN
    return str(enum.values_by_number[number].name).removeprefix(_prefix(enum)).lower().replace("_", "-")


def number_of(enum: Any, name: str) -> int:
    """Return the number of the enum value that has this name in the JSON."""
    return int(enum.Value(_prefix(enum.DESCRIPTOR) + name.upper().replace("-", "_")))


def _prefix(enum: EnumDescriptor) -> str:
    return str(enum.values_by_number[0].name).removesuffix("UNSPECIFIED")


def _time_of(stamp: Timestamp) -> datetime | None:
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):  # beyond year 9999
        return None


def _seconds_of(length: Duration) -> float:
    return length.seconds + length.nanos / 1e9


def _text_of(data: bytes) -> str | None:
    """Return bytes as text if they are UTF-8; else None."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unchanged(value: Any) -> Any:
    return value


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
