"""The headers of a record as one text: `name=value&name=value`, both percent-encoded, in order.

Names and values of Kafka headers are any text and any bytes, which HTTP headers cannot carry and which servers between here
and a handler drop. The text needs letters, digits and `-._~%=&` only, so it survives all of them, and so do the order, the
case of names, repeated names, and a null value (a name without `=`).
"""

from collections.abc import Iterator, Sequence

from mpsd.core.percent import FORM, percent_encode

LINE_BYTES_MAX = 8_000
"""Bytes of the text in one line of HTTP: nginx has 8,192 for a whole line and gunicorn 8,190, name and blanks included."""


def encode_headers(headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    """Return the text; empty for no headers."""
    return b"&".join([_field(name, value) for name, value in headers])


def split_headers(text: bytes) -> Iterator[bytes]:
    """Yield the text in parts of at most `LINE_BYTES_MAX`, each with an `&` at its end where one stands in reach.

    Put together in order they are the text; no part has a comma or a blank, which HTTP puts between lines of one name.
    """
    while len(text) > LINE_BYTES_MAX:
        end = text.rfind(b"&", 0, LINE_BYTES_MAX) + 1 or LINE_BYTES_MAX
        yield text[:end]
        text = text[end:]
    yield text


def _field(name: str, value: bytes | None) -> bytes:
    encoded = percent_encode(name.encode(), FORM)
    return encoded if value is None else b"%b=%b" % (encoded, percent_encode(value, FORM))
