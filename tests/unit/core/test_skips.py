"""The memory of a skip."""

import pytest

from mpsd.core.control import EntityKey, key_bytes, parse_key
from mpsd.core.record import TopicPartition
from mpsd.core.skips import dead_letter_of, entity_key, is_of

SOURCE = TopicPartition("orders", 3), 1842
DEAD_LETTER = TopicPartition("orders.dlq", 1), 7
KEY = entity_key("g", "billing", SOURCE, DEAD_LETTER)


def test_a_key_says_which_record_and_where_it_is() -> None:
    read = parse_key(key_bytes(KEY))
    assert read == KEY
    assert is_of(read, "g", "billing", SOURCE)
    assert dead_letter_of(read) == DEAD_LETTER


@pytest.mark.parametrize(
    ("group", "subscription", "offset"), [("h", "billing", 1842), ("g", "mail", 1842), ("g", "billing", 1841)]
)
def test_another_record_is_another(group: str, subscription: str, offset: int) -> None:
    assert not is_of(KEY, group, subscription, (SOURCE[0], offset))


@pytest.mark.parametrize("key", [("g", "pause"), KEY[:-1], (*KEY[:-1], "x"), (*KEY[:-1], "-1"), (*KEY, "8")])
def test_what_is_no_skip_has_no_dead_letter(key: EntityKey) -> None:
    assert dead_letter_of(key) is None
    assert not is_of(key, "g", "billing", SOURCE)
