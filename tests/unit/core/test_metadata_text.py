from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.metadata_text import Packing, bytes_in, pack, unpack

PACKINGS = list(Packing)


@given(st.binary(max_size=100), st.sampled_from(PACKINGS))
def test_what_was_packed_comes_back_with_at_most_a_zero_behind_it(data: bytes, packing: Packing) -> None:
    assert unpack(pack(data, packing), packing) in {data, data + b"\0"}


@given(st.integers(1, 200), st.sampled_from(PACKINGS))
def test_so_many_units_hold_so_many_bytes_and_not_one_more(units: int, packing: Packing) -> None:
    full = bytes_in(units, packing)
    assert len(pack(bytes(full), packing)) <= units < len(pack(bytes(full + 1), packing))


@given(st.binary(max_size=300))
def test_each_character_is_one_unit_of_either_count(data: bytes) -> None:
    ascii_text, wide = pack(data, Packing.ASCII), pack(data, Packing.UTF16)
    assert ascii_text.isascii()
    assert len(wide.encode("utf-16-le")) == 2 * len(wide)
    assert all("\u4e00" <= character <= "\ucdff" for character in wide)


@given(st.text(max_size=50), st.sampled_from(PACKINGS))
def test_any_text_is_unpacked_or_refused(text: str, packing: Packing) -> None:
    with suppress(ValueError):
        unpack(text, packing)


@pytest.mark.parametrize("text", ["A", "AA=A", "A A=", "Ä"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"ASCII|[Bb]ase64|padding"):
        unpack(text, Packing.ASCII)


@pytest.mark.parametrize("text", ["a", "\u4dff", "\uce00", "\U0001f600", "\ud800"])
def test_a_character_outside_of_the_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="15 bits"):
        unpack(text, Packing.UTF16)
