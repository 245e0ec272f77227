"""One codec between typed values and JSON, which checks what anybody may have written against the annotations of a type.

bool, str              itself
int                    a whole number below 2^63; `Annotated[int, 1]`: 1 or more
float                  a finite number; `Annotated[float, 0]`: 0 or more
bytes                  base64 with a mark in front, see `text_of`
enumeration            its value
frozenset, Sequence    an array; that of a set is sorted
NamedTuple             an array of its fields
dataclass              an object of its fields; a field that is missing has its default
Mapping                an object if the keys are text, otherwise an array of pairs
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from math import isfinite
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

NUMBER_MAX = (1 << 63) - 1


class Unfit(Exception):  # noqa: N818 - the name says what the document is
    """A document that does not fit its type."""


def text_of(data: bytes | None) -> str:
    """Return bytes as a part of a key; empty for None, which is not the empty key."""
    return "" if data is None else "=" + urlsafe_b64encode(data).decode()


def bytes_of(text: str) -> bytes | None:
    """Return the bytes that `text_of` was given.

    Raises:
        ValueError: the text is not of `text_of`.
    """
    if not text:
        return None
    data = urlsafe_b64decode(text[1:])
    if text_of(data) != text:
        raise ValueError("not the text of a key")
    return data


@cache
def hints(kind: Any) -> Mapping[str, Any]:
    """Return the annotations of a type's fields."""
    return get_type_hints(kind, include_extras=True)


def encode(value: Any) -> Any:
    """Return a typed value as JSON has it."""
    match value:
        case Enum():
            return value.value
        case bytes():
            return text_of(value)
        case frozenset():
            return sorted(map(encode, value))
        case list() | tuple():
            return [encode(each) for each in value]
        case Mapping() if all(isinstance(key, str) for key in value):
            return {key: encode(each) for key, each in value.items()}
        case Mapping():
            return [[encode(key), encode(each)] for key, each in sorted(value.items())]
        case _ if is_dataclass(value):
            return {each.name: encode(getattr(value, each.name)) for each in fields(value)}
        case _:
            return value


def decode(wanted: Any, found: Any) -> Any:
    """Return the value of a type that JSON has.

    Raises:
        Unfit: the JSON does not fit the type.
    """
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        value = decode(arguments[0], found)
        if value < arguments[1]:
            raise Unfit(f"{value} is less than {arguments[1]}")
        return value
    if origin is Union or type(None) in arguments:
        return None if found is None else decode(arguments[0], found)
    if origin is not None:
        return _container(origin, arguments, found)
    if wanted in _SCALARS:
        return _SCALARS[wanted](found)
    if issubclass(wanted, Enum):
        return _checked(wanted, found)
    if is_dataclass(wanted):
        return decode_fields(wanted, found)
    types = list(hints(wanted).values())
    if not isinstance(found, list) or len(found) != len(types):
        raise Unfit(f"not an array of {len(types)}")
    return wanted(*map(decode, types, found))


def decode_fields(wanted: Any, found: Any, known: Mapping[str, Any] | None = None) -> Any:
    """Return an instance of a dataclass from the fields of an object.

    Args:
        known: fields that are not in the object.

    Raises:
        Unfit: the object does not fit the type.
    """
    if not isinstance(found, Mapping):
        raise Unfit("not an object")
    types, values = hints(wanted), dict(known or {})
    for each in fields(wanted):
        if each.name in values:
            continue
        if each.name in found:
            values[each.name] = decode(types[each.name], found[each.name])
        elif each.default is MISSING and each.default_factory is MISSING:
            raise Unfit(f"{each.name} is missing")
    return wanted(**values)


def decode_part(wanted: Any, text: str) -> Any:
    """Return the value of a part of a key: text, a number, bytes, or None if the part is empty.

    Raises:
        Unfit: the text does not fit the type.
    """
    if type(None) in (arguments := get_args(wanted)):
        return decode_part(arguments[0], text) if text else None
    if wanted is str:
        return text
    value = _checked(bytes_of if wanted is bytes else int, text)
    if value is None or encode_part(value) != text:
        raise Unfit(text)
    return value


def encode_part(value: Any) -> str:
    """Return a value as a part of a key."""
    return text_of(value) if value is None or isinstance(value, bytes) else str(value)


def _container(origin: Any, arguments: Sequence[Any], found: Any) -> Any:
    is_mapping = issubclass(origin, Mapping)
    if is_mapping and arguments[0] is str:
        if not isinstance(found, dict):
            raise Unfit("not an object")
        return {key: decode(arguments[1], each) for key, each in found.items()}
    if not isinstance(found, list):
        raise Unfit("not an array")
    if is_mapping:
        if not all(isinstance(each, list) and len(each) == 2 for each in found):
            raise Unfit("not an array of pairs")
        return {decode(arguments[0], key): decode(arguments[1], each) for key, each in found}
    return (frozenset if origin is frozenset else list)(decode(arguments[0], each) for each in found)


def _checked(make: Callable[[Any], Any], found: Any) -> Any:
    try:
        return make(found)
    except ValueError as error:
        raise Unfit(str(error)) from error


def _exactly(kind: type) -> Callable[[Any], Any]:
    def check(found: Any) -> Any:
        if type(found) is not kind:
            raise Unfit(f"not of {kind.__name__}")
        return found

    return check


def _whole(found: Any) -> int:
    if type(found) is not int or abs(found) > NUMBER_MAX:
        raise Unfit("not a whole number")
    return found


def _real(found: Any) -> float:
    if type(found) not in {int, float} or not isfinite(found):
        raise Unfit("not a finite number")
    return float(found)


def _data(found: Any) -> bytes:
    data = _checked(bytes_of, _exactly(str)(found))
    if data is None:
        raise Unfit("no bytes")
    return bytes(data)


_SCALARS: Mapping[Any, Callable[[Any], Any]] = {
    bool: _exactly(bool), str: _exactly(str), int: _whole, float: _real, bytes: _data
}  # fmt: skip
