"""A record's media type: named by its headers, or seen at both ends of its value.

Producers rarely set a `content-type` header, and stock handlers (FastAPI, Flask, Express, Spring) read JSON only from a
request that says so. The value is therefore looked at, but never parsed: the look costs the same for any size.

Source: RFC 9110, sections 5.6.2 (token), 8.3 (media type) and 8.4 (content coding); RFC 8259, section 2 (JSON).
"""

import json
import re
from collections.abc import Sequence

from mpsd.core.record import Record

AUTO = "auto"
"""The setting under which each record's own type is sent."""
OCTET_STREAM = b"application/octet-stream"
JSON = b"application/json"
MEDIA_TYPE_BYTES_MAX = 1_024
BLANKS_MAX = 64
"""White space looked over before and behind a JSON value."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,127}"
_MEDIA_TYPE = re.compile(_TOKEN + rb"/" + _TOKEN + rb"(?:[ \t]{0,8};(?:[\t -~]*[!-~])?)?")
_CODINGS = re.compile(_TOKEN + rb"(?:[ \t]{0,8},[ \t]{0,8}" + _TOKEN + rb"){0,7}")
NAMES = frozenset({"content-type", "contenttype", "content-encoding"})
"""Headers that say something of the type, in lower case."""
_HEADERS = ("content-type", "contenttype")
"""The second is `contentType`, which Spring Cloud Stream writes; the first counts where both are there."""
_JSON_BEGINNINGS = frozenset(b"{[ \t\r\n\xef")
_JSON_BEGINNING = re.compile(
    rb"(?:\xef\xbb\xbf)?[ \t\r\n]{0,%d}(?:(\{)[ \t\r\n\"}]|\[[ \t\r\n\]\[{\"0-9tfn-])" % BLANKS_MAX
)


class ContentTypes:
    """The media types of the records of one subscription.

    Args:
        setting: `auto`, or the media type of every record.

    Attributes:
        json: the type of a record without headers whose value looks like JSON.
        other: the type of any other record without headers.
    """

    def __init__(self, setting: str = AUTO) -> None:
        self._fixed = None if setting == AUTO else setting.encode()
        self.json = self._fixed or JSON
        self.other = self._fixed or OCTET_STREAM

    def of(self, record: Record) -> bytes:
        """Return the media type of a record."""
        if self._fixed is not None:
            return self._fixed
        if (named := media_type(record.headers)) is not None:
            return named
        return self.other if content_encoding(record.headers) is not None else self.of_value(record.value)

    def of_value(self, value: bytes | None) -> bytes:
        """Return the media type of a record whose headers say nothing of it."""
        return self.json if value is not None and looks_like_json(value) else self.other


def looks_like_json(value: bytes) -> bool:
    """Return True for a value that begins and ends like a JSON object or array; never parse it.

    A byte order mark and up to `BLANKS_MAX` bytes of white space may stand before it, and such white space behind it.
    """
    if not value or value[0] not in _JSON_BEGINNINGS:
        return False
    if value.startswith(b'{"') and value.endswith(b"}"):
        return True
    begun = _JSON_BEGINNING.match(value)
    if begun is None:
        return False
    return value[-BLANKS_MAX:].rstrip(b" \t\r\n").endswith(b"}" if begun[1] else b"]")


def is_media_type(text: bytes) -> bool:
    """Return True for `type/subtype`, with or without parameters, that a header can carry."""
    return len(text) <= MEDIA_TYPE_BYTES_MAX and _MEDIA_TYPE.fullmatch(text) is not None


def media_type(headers: Sequence[tuple[str, bytes | None]]) -> bytes | None:
    """Return the type that a record's headers name; None where they name none that HTTP can carry."""
    for wanted in _HEADERS:
        for name, value in headers:
            if value and name.lower() == wanted and len(value) <= MEDIA_TYPE_BYTES_MAX:
                named = _unwrapped(value)
                if is_media_type(named):
                    return named
    return None


def content_encoding(headers: Sequence[tuple[str, bytes | None]]) -> bytes | None:
    """Return the codings that were applied to a record's value; None for none, and for what HTTP cannot carry."""
    for name, value in headers:
        if value and name.lower() == "content-encoding" and _CODINGS.fullmatch(value):
            return None if value.lower() == b"identity" else value
    return None


def _unwrapped(value: bytes) -> bytes:
    """Return the media type within the JSON text or object that Spring's header mapper may have made of it."""
    if value[0] not in b'"{':
        return value
    try:
        match json.loads(value):
            case str(text):
                return text.encode("latin-1", "replace")
            case {"type": str(kind), "subtype": str(subtype)}:
                return f"{kind}/{subtype}".encode("latin-1", "replace")
            case _:
                return value
    except (ValueError, RecursionError):
        return value
