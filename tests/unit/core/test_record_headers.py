from urllib.parse import parse_qsl, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.record_headers import LINE_BYTES_MAX, encode_headers, split_headers

Headers = list[tuple[str, bytes | None]]


def decoded(text: bytes) -> Headers:
    """Return what a receiver makes of the text, null values included."""
    fields = [field.partition(b"=") for field in text.split(b"&")]
    return [(unquote_to_bytes(name).decode(), unquote_to_bytes(value) if sep else None) for name, sep, value in fields]


@given(st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=9)), min_size=1, max_size=5))
def test_any_headers_come_back_in_order(headers: Headers) -> None:
    assert decoded(encode_headers(headers)) == headers


def test_no_headers_are_no_text() -> None:
    assert encode_headers(()) == b""


def test_the_text_is_a_form_that_every_language_reads() -> None:
    text = encode_headers([("ce_type", b"order placed"), ("__TypeId__", b"a.B"), ("ce_type", b"+&=%,")])
    assert text == b"ce_type=order%20placed&__TypeId__=a.B&ce_type=%2B%26%3D%25%2C"
    assert parse_qsl(text.decode()) == [("ce_type", "order placed"), ("__TypeId__", "a.B"), ("ce_type", "+&=%,")]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", [b""]),
        (b"x" * LINE_BYTES_MAX, [b"x" * LINE_BYTES_MAX]),
        (b"x" * (LINE_BYTES_MAX + 1), [b"x" * LINE_BYTES_MAX, b"x"]),
        (b"a=1&" + b"x" * LINE_BYTES_MAX, [b"a=1&", b"x" * LINE_BYTES_MAX]),
        (b"x" * (LINE_BYTES_MAX - 1) + b"&b", [b"x" * (LINE_BYTES_MAX - 1) + b"&", b"b"]),
        (b"x" * LINE_BYTES_MAX + b"&b", [b"x" * LINE_BYTES_MAX, b"&b"]),
    ],
)
def test_a_long_text_is_split_behind_a_field_where_one_ends(text: bytes, lines: list[bytes]) -> None:
    assert list(split_headers(text)) == lines


@given(st.lists(st.integers(1, 3 * LINE_BYTES_MAX), max_size=6))
def test_parts_are_short_and_make_the_text_again(sizes: list[int]) -> None:
    text = b"&".join([b"a=" + b"x" * size for size in sizes])
    parts = list(split_headers(text))
    assert b"".join(parts) == text
    assert all(len(part) <= LINE_BYTES_MAX for part in parts)
