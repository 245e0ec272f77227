"""Reasons that differ only in the record they are about have one pattern."""

import pytest

from mpsd.core.reason_pattern import pattern_of


@pytest.mark.parametrize(
    ("reason", "pattern"),
    [
        ("answered 422: body.items.17.price: too small", "answered 422: body.items.#.price: too small"),
        ("answered 422", "answered 422"),
        ("answered 500: no customer 'ann'", "answered 500: no customer '…'"),
        ('answered 500: key "a b" and `c`', 'answered 500: key "…" and `…`'),
        ("request 0191a0b2-93c4-7d5e-8f60-718293a4b5c6 failed", "request # failed"),
        ("trace 4f1c9a0be7d2 ends", "trace # ends"),
        ("the facade is deadbeef", "the facade is deadbeef"),
        ("timed out after 30.0 s", "timed out after #.# s"),
        ("it's not open", "it's not open"),
        ("", ""),
    ],
)
def test_what_varies_is_left_out(reason: str, pattern: str) -> None:
    assert pattern_of(reason) == pattern
