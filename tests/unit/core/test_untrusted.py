from collections.abc import Callable
from typing import Any

import pytest

from mpsd.core.untrusted import Unfit, flag, number, numbers, optional_number, real, table, text

GOOD: list[tuple[Callable[..., Any], Any]] = [
    (number, 0), (optional_number, None), (optional_number, 7), (real, 0.5), (real, 2), (text, ""), (flag, True),
    (table, {"a": 1}), (numbers, []), (numbers, [1, 2]),
]  # fmt: skip
BAD: list[tuple[Callable[..., Any], Any]] = [
    (number, -1), (number, True), (number, 1.0), (number, 1 << 63), (number, None), (optional_number, "7"), (real, -0.5),
    (real, float("inf")), (real, "1"), (real, True), (text, 1), (text, None), (flag, 1), (table, []), (numbers, {}),
    (numbers, [1, -1]), (numbers, [True]), (numbers, ["1"]),
]  # fmt: skip


@pytest.mark.parametrize(("take", "value"), GOOD)
def test_what_fits_is_taken(take: Callable[..., Any], value: Any) -> None:
    assert take({"x": value}, "x") == value


@pytest.mark.parametrize(("take", "value"), BAD)
def test_what_does_not_fit_is_named(take: Callable[..., Any], value: Any) -> None:
    with pytest.raises(Unfit, match="x"):
        take({"x": value}, "x")


def test_a_number_may_have_another_least() -> None:
    assert number({"x": -1}, "x", -1) == -1
    with pytest.raises(Unfit):
        number({"x": 0}, "x", 1)
