"""Percent-encoding: how any bytes travel in a header that carries visible ASCII.

Source: RFC 3986, section 2.1, for the form; which bytes stand for themselves is each header's own affair.
"""

from functools import cache

VISIBLE = bytes(range(0x21, 0x7F)).replace(b"%", b"")
"""Visible ASCII without the percent sign, so that decoding gives back exactly what was encoded."""

TOKEN = b"!#$&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Characters of the name of an HTTP header (RFC 9110, section 5.6.2), without the percent sign."""

CLOUDEVENTS = VISIBLE.replace(b'"', b"")
"""Source: CloudEvents 1.0.2, HTTP protocol binding, section 3.1.3.2."""

JSON_TEXT = VISIBLE.replace(b'"', b"").replace(b"\\", b"")
"""Characters that stand in a JSON string as they are: escapes of JSON and percent-encoding do not meet."""

FORM = b"-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Characters that stand for themselves in a list of `name=value` joined by `&` (RFC 3986, section 2.3: unreserved)."""


def percent_encode(data: bytes, plain: bytes = VISIBLE) -> bytes:
    """Return the data with every byte that is not in `plain` as `%` and two upper-case hexadecimal digits."""
    if not data.translate(None, plain):
        return data
    forms = _forms(plain)
    return b"".join([forms[byte] for byte in data])


@cache
def _forms(plain: bytes) -> tuple[bytes, ...]:
    return tuple(bytes((byte,)) if byte in plain else b"%%%02X" % byte for byte in range(256))
