"""The codec: what it writes it reads back, and what does not fit is refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import pytest

from mpsd.core.codec import Unfit, decode, decode_part, encode, encode_part


class Colour(StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: Annotated[int, 0]
    y: int


@dataclass(frozen=True, kw_only=True)
class Shape:
    name: str
    points: Sequence[Point] = ()
    weights: Mapping[Point, float] = field(default_factory=dict)
    counts: Mapping[str, Annotated[int, 1]] = field(default_factory=dict)
    colours: frozenset[Colour] = frozenset()
    key: bytes | None = None
    is_open: bool = False


SHAPE = Shape(
    name="a", points=[Point(1, -2)], weights={Point(0, 0): 0.5}, counts={"b": 1}, colours=frozenset({Colour.RED}), key=b"",
    is_open=True,
)  # fmt: skip


def test_what_is_written_is_read_back() -> None:
    assert decode(Shape, json.loads(json.dumps(encode(SHAPE)))) == SHAPE


def test_what_is_missing_has_its_default() -> None:
    assert decode(Shape, {"name": "a"}) == Shape(name="a")
    with pytest.raises(Unfit, match="name is missing"):
        decode(Shape, {})


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (int, -5),
        (Annotated[int, 0], 0),
        (float, 2),
        (Annotated[float, 0], 0.0),
        (int | None, None),
        (str, ""),
        (bool, False),
    ],
)
def test_what_fits_is_taken(wanted: Any, found: Any) -> None:
    assert decode(wanted, found) == found


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (int, True), (int, 1.0), (int, 1 << 63), (int, None), (Annotated[int, 0], -1), (int | None, "7"),
        (Annotated[float, 0], -0.5), (float, float("inf")), (float, "1"), (float, True), (str, 1), (str, None), (bool, 1),
        (bytes, ""), (bytes, "aw=="), (bytes, 1), (bytes, "=a"), (Colour, "blue"), (Colour, []), (Point, [1]), (Point, {}),
        (Point, [-1, 0]), (Shape, []), (Sequence[int], {}), (Sequence[int], ["1"]), (Mapping[str, int], []),
        (Mapping[str, int], {"a": None}), (Mapping[Point, int], {}), (Mapping[Point, int], [[[1, 2]]]), (frozenset[int], [True]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(wanted: Any, found: Any) -> None:
    with pytest.raises(Unfit):
        decode(wanted, found)


@pytest.mark.parametrize(
    ("wanted", "value"),
    [(str, ""), (str | None, None), (int, 7), (int | None, None), (bytes, b""), (bytes | None, None)],
)
def test_a_part_of_a_key_is_read_back(wanted: Any, value: Any) -> None:
    assert decode_part(wanted, encode_part(value)) == value


@pytest.mark.parametrize(
    ("wanted", "text"),
    [(int, "x"), (int, ""), (int, "07"), (int | None, " 1"), (bytes, ""), (bytes, "=a"), (bytes, "no base64")],
)
def test_a_part_of_another_form_is_refused(wanted: Any, text: str) -> None:
    with pytest.raises(Unfit):
        decode_part(wanted, text)
