"""The key of a skip."""

import pytest

from mpsd.core.control import EntityKey, key_bytes, parse_key
from mpsd.core.record import TopicPartition
from mpsd.core.skips import SKIP, Skip

MADE = Skip("billing", "orders", 3, 1842, "orders.dlq", 1, 7)
KEY = SKIP.entity_key("g", MADE)


def test_a_key_says_which_record_and_where_its_dead_letter_is() -> None:
    read = parse_key(key_bytes(KEY))
    assert read == KEY
    assert SKIP.key_of(read) == MADE
    assert MADE.source == (TopicPartition("orders", 3), 1842)


@pytest.mark.parametrize("key", [("g", "pause"), KEY[:-1], (*KEY[:-1], "x"), (*KEY, "8"), ("g", "pause", *KEY[2:])])
def test_a_key_of_something_else_is_no_skip(key: EntityKey) -> None:
    assert SKIP.key_of(key) is None
