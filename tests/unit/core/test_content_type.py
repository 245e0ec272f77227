import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.content_type import (
    MEDIA_TYPE_BYTES_MAX,
    ContentTypes,
    content_encoding,
    is_media_type,
    looks_like_json,
    media_type,
)
from tests.fakes.records import Row

Headers = tuple[tuple[str, bytes | None], ...]


def record(value: bytes | None, *headers: tuple[str, bytes | None]) -> Row:
    return Row(value=value, headers=headers)


@pytest.mark.parametrize(
    "value",
    [
        b"{}",
        b"[]",
        b'{"a": 1}',
        b"[1, 2]",
        b"[-1]",
        b"[true]",
        b"[null]",
        b'["a"]',
        b"[[1], {}]",
        b'{\n  "a": 1\n}\n',
        b" \t\r\n[ 1 ] \r\n",
        b'\xef\xbb\xbf{"a": 1}',
        b'{"cut": "in the middle}',
    ],
)
def test_what_begins_and_ends_like_an_object_or_array_looks_like_json(value: bytes) -> None:
    assert looks_like_json(value)
    assert ContentTypes().of(record(value)) == b"application/json"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"{",
        b"[",
        b"{]",
        b"[}",
        b"[1}",
        b"{x}",
        b"{{ template }}",
        b"[INFO] started",
        b"[INFO]",
        b"[2026-01-31 12:00:00] started",
        b'"text"',
        b"42",
        b"null",
        b"text",
        b"<a/>",
        b"\x00\x00\x00\x00\x07{}",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb",
        b" " * 65 + b"{}",
        b"{}" + b" " * 65,
        b"\x1f\x8b\x08\x00",
    ],
)
def test_anything_else_does_not(value: bytes) -> None:
    assert not looks_like_json(value)
    assert ContentTypes().of(record(value)) == b"application/octet-stream"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    value=st.lists(JSON_VALUES, max_size=3) | st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3),
    indent=st.none() | st.integers(0, 4),
    ascii_only=st.booleans(),
    blanks=st.text(" \t\r\n", max_size=64),
)
def test_every_object_and_array_looks_like_json(
    value: object, indent: int | None, ascii_only: bool, blanks: str
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert looks_like_json(f"{blanks}{text}{blanks[:63]}".encode())


def test_a_look_at_a_long_value_touches_its_ends_only() -> None:
    assert looks_like_json(b'{"a":' + b"\x00" * 1_000_000 + b"}")


def test_a_tombstone_has_no_json() -> None:
    assert ContentTypes().of(record(None)) == b"application/octet-stream"


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ((("Content-Type", b"application/json; charset=utf-8"),), b"application/json; charset=utf-8"),
        ((("content-type", b"text/plain;"),), b"text/plain;"),
        ((("contentType", b"application/xml"),), b"application/xml"),
        ((("contentType", b'"application/json"'),), b"application/json"),
        ((("contentType", b'"text/plain;charset=\\"UTF-8\\""'),), b'text/plain;charset="UTF-8"'),
        ((("contentType", b'{"type": "application", "subtype": "json", "parameters": {}}'),), b"application/json"),
        ((("contentType", b"text/css"), ("content-type", b"text/html")), b"text/html"),
        ((("content-type", b"json"), ("content-type", b"text/html")), b"text/html"),
        ((("content-type", None), ("contentType", b"text/css")), b"text/css"),
        ((("content-types", b"text/css"),), None),
        ((), None),
    ],
)
def test_a_header_names_the_type(headers: Headers, named: bytes | None) -> None:
    assert media_type(headers) == named


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"json",
        b"text/",
        b"/plain",
        b"text/plain\r\nX-Evil: 1",
        b"text/plain\n",
        b" text/plain",
        b"text/plain ",
        b"text/plain; charset=utf-8 ",
        b"te xt/plain",
        "text/plain; name=é".encode(),
        b"text/plain; a=" + b"x" * MEDIA_TYPE_BYTES_MAX,
        b'"',
        b'"text/plain\\r\\nX-Evil: 1"',
        b'"text/\\u20ac"',
        b'{"type": "text"}',
        b'{"type": 1, "subtype": "plain"}',
        b"{",
        b"\xff/\xff",
        b'"\xff"',
    ],
)
def test_no_media_type_is_no_type(given: bytes) -> None:
    assert media_type((("content-type", given),)) is None
    assert not is_media_type(given)
    assert ContentTypes().of(record(b"{}", ("content-type", given))) == b"application/json"


@pytest.mark.parametrize("given", [b"gzip", b"br", b"zstd", b"deflate, gzip", b"x-snappy"])
def test_an_encoded_value_is_never_taken_for_json(given: bytes) -> None:
    encoded = record(b"[1]", ("Content-Encoding", given))
    assert content_encoding(encoded.headers) == given
    assert ContentTypes().of(encoded) == b"application/octet-stream"


@pytest.mark.parametrize("given", [b"identity", b"", None, b"gzip\r\nX-Evil: 1", b"a b", b"gzip,", b"x" * 200, b"\xff"])
def test_what_is_no_encoding_changes_nothing(given: bytes | None) -> None:
    plain = record(b"[1]", ("content-encoding", given))
    assert content_encoding(plain.headers) is None
    assert ContentTypes().of(plain) == b"application/json"


def test_an_encoded_value_keeps_the_type_that_its_header_names() -> None:
    encoded = record(b"\x1f\x8b", ("content-encoding", b"gzip"), ("content-type", b"application/json"))
    assert ContentTypes().of(encoded) == b"application/json"


def test_a_configured_type_counts_more_than_anything_the_record_says() -> None:
    types = ContentTypes("text/csv")
    assert types.of(record(b"{}", ("content-type", b"application/json"))) == b"text/csv"
    assert types.of(record(None)) == types.json == types.other == b"text/csv"
