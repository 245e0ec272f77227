import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsd.core.byte_reader import ByteReader, Malformed, number, rice, rice_bytes


@given(st.lists(st.integers(0, (1 << 63) - 1), max_size=10))
def test_numbers_come_back(values: list[int]) -> None:
    reader = ByteReader(b"".join(map(number, values)))
    assert [reader.number() for _ in values] == values
    reader.end()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "end is missing"),
        (b"\x80", "end is missing"),
        (b"\x80\x00", "longer than it has to be"),
        (b"\x80" * 9 + b"\x01", "beyond"),
    ],
)
def test_what_is_no_number_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        ByteReader(data).number()


@given(st.lists(st.integers(0, 500), min_size=1, max_size=50), st.integers(0, 10))
def test_rice_comes_back_and_reading_goes_on_behind_it(values: list[int], k: int) -> None:
    reader = ByteReader(rice(values, k) + b"\x07")
    assert len(rice(values, k)) == rice_bytes(values, k)
    assert reader.rice(len(values), k) == values
    assert reader.byte() == 7


@pytest.mark.parametrize(("data", "k"), [(b"", 0), (b"\xff", 0), (b"\x00", 8)])
def test_rice_that_ends_too_soon_is_refused(data: bytes, k: int) -> None:
    with pytest.raises(Malformed):
        ByteReader(data).rice(1, k)


def test_no_rice_is_read_from_nothing() -> None:
    assert ByteReader(b"").rice(0, 3) == []


def test_what_is_left_over_is_refused() -> None:
    reader = ByteReader(b"ab")
    assert reader.take(1) == b"a"
    with pytest.raises(Malformed, match="more than"):
        reader.end()
