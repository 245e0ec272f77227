"""The key of a record is its producer's where that can be used, and else the record's id; a replay has its own."""

import pytest

from mpsd.core.delivery import Assignment, Delivery, FailureHistory, Replayed, ReplayedDelivery
from mpsd.core.idempotency import (
    KEY_BYTES_MAX,
    RECORD_ID_BYTES_MAX,
    IdempotencyKeys,
    Unusable,
    key_in_header,
    record_id,
    record_id_in_dead_letter,
)
from mpsd.core.incarnation import Incarnation
from mpsd.core.record import TopicPartition
from tests.fakes.records import Row

HERE = Assignment(TopicPartition("orders", 3), 1, Incarnation(bytes(range(16))))
RECORD_ID = b"AAECAwQFBgcICQoLDA0ODw/3/7"
Headers = tuple[tuple[str, bytes | None], ...]


def made(headers: Headers = (), replay: str | None = None, attempts: int = 0) -> Delivery:
    delivery = Delivery(Row(partition=3, offset=7, headers=headers), HERE, b"a", 1)
    delivery.replay = replay
    delivery.failures = FailureHistory(attempts=attempts) if attempts else None
    return delivery


def test_without_a_header_it_is_the_records_id() -> None:
    keys = IdempotencyKeys()
    assert keys.are_record_ids
    assert keys.of(made((("order-id", b"o-1"),))) == keys.written(made()) == RECORD_ID
    assert keys.fallbacks() == {}


def test_every_attempt_has_the_same() -> None:
    keys = IdempotencyKeys("order-id")
    for attempts in (0, 1, 4):
        assert keys.written(made((("order-id", b"o-1"),), attempts=attempts)) == b"o-1"


def test_what_a_replay_brought_back_is_to_be_processed_once_more() -> None:
    assert IdempotencyKeys().of(made(replay="r 9")) == RECORD_ID + b"#r%209"
    assert IdempotencyKeys("order-id").of(made((("Order-Id", b"o-1"),), replay='"')) == b"o-1#%22"


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ((), Unusable.ABSENT),
        ((("other", b"o-1"),), Unusable.ABSENT),
        ((("order-id", b""),), Unusable.EMPTY),
        ((("order-id", None),), Unusable.EMPTY),
        ((("order-id", b"x" * 10_240),), Unusable.TOO_LONG),
        ((("order-id", b"x" * (KEY_BYTES_MAX + 1)),), Unusable.TOO_LONG),
        ((("order-id", b"o-1"), ("order-id", b"o-1")), Unusable.REPEATED),
        ((("order-id", b"o-1"), ("Order-ID", b"o-2")), Unusable.REPEATED),
        ((("order-id", b"o 1"),), Unusable.NOT_VISIBLE_ASCII),
        ((("order-id", b"o-1\r\nX-Evil: 1"),), Unusable.NOT_VISIBLE_ASCII),
        ((("order-id", "größe".encode()),), Unusable.NOT_VISIBLE_ASCII),
        ((("order-id", bytes(16)),), Unusable.NOT_VISIBLE_ASCII),
    ],
)
def test_a_header_that_cannot_be_used_is_counted_once(headers: Headers, why: Unusable) -> None:
    keys = IdempotencyKeys("Order-Id")
    assert not keys.are_record_ids
    assert key_in_header(Row(headers=headers), "order-id") is why
    assert keys.written(made(headers)) == RECORD_ID
    assert keys.written(made(headers, attempts=1)) == keys.of(made(headers)) == RECORD_ID
    assert {name: count for name, count in keys.fallbacks().items() if count} == {why.value: 1}
    assert len(keys.fallbacks()) == len(Unusable)


def test_a_header_of_the_longest_length_is_used_as_it_is() -> None:
    key = b'%."\\!~' * (KEY_BYTES_MAX // 6)
    assert key_in_header(Row(headers=(("a", key),)), "a") == key
    assert key_in_header(Row(headers=(("a", b"x" * KEY_BYTES_MAX),)), "a") == b"x" * KEY_BYTES_MAX


def test_a_dead_letter_names_the_topic_that_the_record_was_read_from() -> None:
    """Two topics of one name can have dead letters of the same offset, which one replay brings back."""

    def revived(dead_letter_record_id: bytes) -> Delivery:
        return ReplayedDelivery(
            Row(partition=3, offset=7), HERE, b"a", 1, 0.0,
            Replayed(replay="r", replays=0, dead_letter_offset=5, on_finished=lambda _: None,
                dead_letter_record_id=dead_letter_record_id),
        )  # fmt: skip

    assert record_id(revived(b"former/3/7")) == b"former/3/7"
    assert IdempotencyKeys().of(revived(b"former/3/7")) == b"former/3/7#r"
    assert IdempotencyKeys().of(revived(b"")) == RECORD_ID + b"#r"


@pytest.mark.parametrize("text", [b"", b"a b", b"a\r\nb", b"x" * (RECORD_ID_BYTES_MAX + 1), b"\xff"])
def test_what_is_no_id_in_a_dead_letter_is_none(text: bytes) -> None:
    assert record_id_in_dead_letter(text) == b""
    assert record_id_in_dead_letter(RECORD_ID) == RECORD_ID
