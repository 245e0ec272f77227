"""The path and query of a URL with places that each record fills: `{topic}` and `{header:NAME}`.

What fills a place can come from anybody who may produce, so it never adds a segment, leads out of one, or ends the request
line: every byte but letters, digits and `-._~` is percent-encoded, and what would make a segment `.` or `..`, also where a
server decodes slashes first, fills nothing.

Source: RFC 3986, sections 2.3 (unreserved characters) and 3.3 (dot segments).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, Self
from urllib.parse import unquote

from mpsd.core.percent import FORM, percent_encode

PLACES_MAX = 4
VALUE_BYTES_MAX = 255
"""Bytes that fill a place, before they are encoded: four of them fit the 4,094 bytes of gunicorn's request line."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_HEADER = re.compile(r"header:([!-~]+)")
_DOTS = frozenset({".", ".."})
_SEPARATOR = re.compile(r"[/\\]")

Headers = Sequence[tuple[str, bytes | None]]


class UnfilledError(ValueError):
    """A record has nothing that may fill a place; the text says which, without the value."""


class _Place(NamedTuple):
    """A place and the text before it.

    Attributes:
        header: the name of the record header that fills it; empty for the topic.
    """

    before: str
    header: str


class TargetTemplate:
    """Path and query, as text between places.

    Attributes:
        needs_headers: records of one topic differ in it.
    """

    def __init__(self, places: Sequence[_Place], end: str) -> None:
        self._places = places
        self._end = end
        self.needs_headers = any(place.header for place in places)
        texts = [*(place.before for place in places), end]
        self._in_path = next((number for number, text in enumerate(texts) if "?" in text), len(places))
        self._behind_path = texts[self._in_path].partition("?")[0]

    def __bool__(self) -> bool:
        """Return True where there are places."""
        return bool(self._places)

    @classmethod
    def of(cls, target: str) -> Self:
        """Read path and query.

        Raises:
            ValueError: a place is unknown, there are too many, or the path has dot segments beside places.
        """
        places: list[_Place] = []
        end = 0
        for found in _PLACE.finditer(target):
            places.append(_Place(target[end : found.start()], _header(found[1])))
            end = found.end()
        made = cls(places, target[end:])
        if any(brace in text for text in (*(place.before for place in places), made._end) for brace in "{}"):
            raise ValueError("has a { or } without the other: write %7B and %7D for braces themselves")
        if len(places) > PLACES_MAX:
            raise ValueError(f"has {len(places)} places to fill, of which {PLACES_MAX} are allowed")
        if places and _has_dots(_PLACE.sub("x", target).partition("?")[0]):
            raise ValueError('has a segment "." or ".." in its path beside places to fill')
        return made

    def fill(self, topic: str, headers: Headers) -> bytes:
        """Return path and query for one record; the first header of a name counts.

        Raises:
            UnfilledError: a header is missing, null, empty or too long, or it would lead to another path.
        """
        written: list[bytes] = []
        path: list[str] = []
        for before, header in self._places:
            value = _value(header, headers) if header else topic.encode()
            written += before.encode(), percent_encode(value, FORM)
            path += before, value.decode("latin-1")
        if self.needs_headers and _has_dots("".join((*path[: 2 * self._in_path], self._behind_path))):
            raise UnfilledError('its headers would make a segment of the path "." or ".."')
        return b"".join((*written, self._end.encode()))


def _header(place: str) -> str:
    if place == "topic":
        return ""
    if named := _HEADER.fullmatch(place):
        return named[1]
    raise ValueError(f"{{{place}}} is unknown: there are {{topic}} and {{header:NAME}}")


def _value(header: str, headers: Headers) -> bytes:
    value = next((value for name, value in headers if name == header), None)
    if not value:
        raise UnfilledError(f"its header {header} is missing or empty")
    if len(value) > VALUE_BYTES_MAX:
        raise UnfilledError(f"its header {header} has {len(value)} bytes, of which {VALUE_BYTES_MAX} are allowed")
    return value


def _has_dots(path: str) -> bool:
    """Return True where a segment is `.` or `..`, for a server that decodes once more or takes a backslash for a slash."""
    return not _DOTS.isdisjoint(_SEPARATOR.split(unquote(path)))
