from typing import Any

import pytest

from mpsd.core.control import Entity, OfSubscription, Provenance
from mpsd.core.record import TopicPartition
from mpsd.core.resets import AGE_MAX_MS, RESET, Move, Reset, Target

WHO = Provenance("ann", "a bug of ours", 1_000, "r-1", "here")
TP, OTHER = TopicPartition("orders", 0), TopicPartition("orders", 1)
MADE = Reset(id="0123abcd", targets={TP: Target(5, 40)}, revision=9, provenance=WHO)
KEY = RESET.entity_key("group", OfSubscription("billing"))


def entity(**said: Any) -> Entity:
    return Entity(document=said, revision=9, provenance=WHO)


def test_a_partition_goes_where_the_reset_says_once() -> None:
    assert MADE.target(TP, "", 1_000) == MADE.target(TP, "89abcdef", 1_000) == Target(5, 40)
    assert MADE.target(TP, "0123abcd", 1_000) is None
    assert MADE.target(OTHER, "", 1_000) is None


def test_a_reset_that_is_too_old_moves_nothing() -> None:
    assert MADE.target(TP, "", 1_000 + AGE_MAX_MS) is not None
    assert MADE.target(TP, "", 1_001 + AGE_MAX_MS) is None


def test_what_is_written_is_read_back() -> None:
    assert RESET.parse(KEY, entity(**RESET.document(MADE))) == MADE
    assert KEY == ("group", "reset", "billing")


@pytest.mark.parametrize(
    ("reset_id", "targets"),
    [
        (None, []),
        ("0123ABCD", []),
        ("0123abcde", []),
        ("0123abcd", {}),
        ("0123abcd", [[["orders", 0], [5]]]),
        ("0123abcd", [[["orders", 0], [-5, 0]]]),
        ("0123abcd", [[["orders", "0"], [5, 0]]]),
        ("0123abcd", ["orders"]),
    ],
)
def test_what_says_something_else_is_no_reset(reset_id: Any, targets: Any) -> None:
    assert RESET.parse(KEY, entity(id=reset_id, targets=targets)) is None


@pytest.mark.parametrize(
    ("committed", "to", "repeated", "skipped"), [(60, 10, 50, 0), (60, 60, 0, 0), (60, 110, 0, 50), (-1, 30, 0, 20)]
)
def test_what_a_move_repeats_and_leaves_out(committed: int, to: int, repeated: int, skipped: int) -> None:
    move = Move(committed=committed, to=to, log_start=10, log_end=110)
    assert (move.repeated, move.skipped) == (repeated, skipped)
