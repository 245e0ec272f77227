from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.percent import CLOUDEVENTS, TOKEN, VISIBLE, percent_encode


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        (b"", b""),
        (b"order-17", b"order-17"),
        (b"a b", b"a%20b"),
        (b"100%", b"100%25"),
        (b"\x00\xff\r\n", b"%00%FF%0D%0A"),
        ("Zürich".encode(), b"Z%C3%BCrich"),
    ],
)
def test_what_is_not_visible_is_encoded(data: bytes, encoded: bytes) -> None:
    assert percent_encode(data) == encoded


def test_each_header_has_its_own_plain_bytes() -> None:
    assert percent_encode(b'say "x"', CLOUDEVENTS) == b"say%20%22x%22"
    assert percent_encode(b"na:me/1", TOKEN) == b"na%3Ame%2F1"


@given(st.binary(), st.sampled_from([VISIBLE, TOKEN, CLOUDEVENTS]))
def test_any_bytes_come_back(data: bytes, plain: bytes) -> None:
    encoded = percent_encode(data, plain)
    assert unquote_to_bytes(encoded) == data
    assert not encoded.translate(None, plain + b"%")
