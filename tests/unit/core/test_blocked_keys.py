"""Blocked keys in the control topic, whoever wrote them."""

from dataclasses import asdict, replace

import pytest

from mpsd.core.blocked_keys import BlockedKey, BlockedKeyBook, entity_key, first_dead_letter
from mpsd.core.control import Entity, EntityKey, Provenance
from mpsd.core.record import LogBounds, TopicPartition

TP = TopicPartition("orders", 3)
BLOCKED = BlockedKey(offset=7, dead_letter_partition=1, dead_letter_offset=9, epoch=4)
LATER = replace(BLOCKED, offset=8, epoch=5)


def entity(**document: object) -> Entity:
    return Entity(document=document, revision=5, provenance=Provenance("", "", 0, "", ""))


def key(of: bytes = b"k", group: str = "g", subscription: str = "s") -> EntityKey:
    return entity_key(group, subscription, TP, of)


def test_what_is_written_is_read_back_and_goes_again() -> None:
    book = BlockedKeyBook("g", "s")
    assert book.on_entity(key(b""), entity(**asdict(BLOCKED))) == (TP, b"")
    assert book.on_entity(key(), entity(**asdict(BLOCKED))) == (TP, b"k")
    assert book.on_entity(key(), entity(**asdict(LATER))) == (TP, b"k")
    assert book.of(TP) == {b"": BLOCKED, b"k": LATER}
    assert len(book) == 2
    assert book.on_entity(key(), None) == (TP, b"k")
    assert book.on_entity(key(), None) == (TP, b"k")
    assert (len(book), book.of(TP)) == (1, {b"": BLOCKED})
    assert book.on_entity(key(b""), None) == (TP, b"")
    assert (len(book), book.of(TP)) == (0, {})
    assert repr(book) == "<BlockedKeyBook s keys=0>"


@pytest.mark.parametrize(
    "other",
    [
        key(group="h"),
        key(subscription="t"),
        key()[:-1],
        (*key()[:4], "x", "=aw=="),
        (*key()[:5], "=a"),
        (*key()[:5], ""),
        ("g", "pause", *key()[2:]),
    ],
)
def test_what_is_of_others_or_cannot_be_read_is_passed_over(other: EntityKey) -> None:
    book = BlockedKeyBook("g", "s")
    assert book.on_entity(other, entity(**asdict(BLOCKED))) is None
    assert len(book) == 0


@pytest.mark.parametrize(
    ("number", "start", "end", "first"), [(1, 0, 20, 9), (1, 12, 20, 12), (1, 3, 9, 3), (0, 3, 20, 3), (1, 9, 10, 9)]
)
def test_where_its_dead_letters_begin_also_in_a_topic_that_is_another_one(
    number: int, start: int, end: int, first: int
) -> None:
    assert first_dead_letter(BLOCKED, number, LogBounds(start, end)) == first


@pytest.mark.parametrize("name", ["epoch", "offset", "dead_letter_partition", "dead_letter_offset"])
def test_a_document_of_something_else_changes_nothing(name: str) -> None:
    book = BlockedKeyBook("g", "s")
    assert book.on_entity(key(), entity(**asdict(BLOCKED) | {name: "x"})) is None
    assert len(book) == 0
