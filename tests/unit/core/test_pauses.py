from typing import Any

import pytest

from mpsd.core.control import Entity, Provenance
from mpsd.core.pauses import PAUSE, Pause, Scope, Stopped, next_end_ms, stopped
from mpsd.core.record import TopicPartition

WHO = Provenance("ann", "broken", 1_000, "r-1", "here")
TP = TopicPartition("orders", 3)


def pause(scope: Scope, until_ms: int | None = None) -> Pause:
    return Pause(scope=scope, until_ms=until_ms, revision=5, provenance=WHO)


def entity(**document: Any) -> Entity:
    return Entity(document=document, revision=5, provenance=WHO)


@pytest.mark.parametrize(
    ("scope", "whole"),
    [
        (Scope("billing"), True),
        (Scope("billing", "orders"), True),
        (Scope("billing", "orders", 3), True),
        (Scope("billing", "orders", 4), False),
        (Scope("billing", "bills"), False),
    ],
)
def test_a_pause_stops_the_partitions_that_it_covers(scope: Scope, whole: bool) -> None:
    assert stopped([pause(scope)], TP, 0) == Stopped(whole, frozenset())


def test_a_pause_by_key_stops_its_lane_only() -> None:
    pauses = [
        pause(Scope("billing", key=b"k1")),
        pause(Scope("billing", "orders", 3, b"k2")),
        pause(Scope("billing", "orders", 4, b"k3")),
        pause(Scope("billing", "orders", None, b"")),
    ]
    assert stopped(pauses, TP, 0) == Stopped(False, frozenset([b"k1", b"k2", b""]))


def test_a_pause_ends_by_itself() -> None:
    pauses = [pause(Scope("billing"), 100), pause(Scope("billing", key=b"k"), 200), pause(Scope("billing", key=b"l"))]
    assert stopped(pauses, TP, 99).whole
    assert stopped(pauses, TP, 100) == Stopped(False, frozenset([b"k", b"l"]))
    assert stopped(pauses, TP, 200).keys == {b"l"}
    assert [next_end_ms(pauses, at_ms) for at_ms in (0, 100, 200)] == [100, 200, None]


@pytest.mark.parametrize(
    "scope",
    [
        Scope("billing"),
        Scope("billing", "orders"),
        Scope("billing", "orders", 0),
        Scope("b", "t", 2, b""),
        Scope("b", key=b"\x00k"),
    ],
)
@pytest.mark.parametrize("until_ms", [None, 7])
def test_what_is_written_is_read_back(scope: Scope, until_ms: int | None) -> None:
    key = PAUSE.entity_key("group", scope)
    assert key[:3] == ("group", "pause", scope.subscription)
    made = pause(scope, until_ms)
    assert PAUSE.parse(key, entity(**PAUSE.document(made))) == made


@pytest.mark.parametrize(
    ("key", "until_ms"),
    [
        (("g", "pause", "billing"), None),
        (("g", "pause", "billing", "t", "x", ""), None),
        (("g", "pause", "billing", "", "1", ""), None),
        (("g", "pause", "billing", "t", "1", "no base64"), None),
        (("g", "pause", "billing", "t", "1", ""), "soon"),
        (("g", "pause", "billing", "t", "1", ""), True),
    ],
)
def test_what_says_something_else_is_no_pause(key: tuple[str, ...], until_ms: Any) -> None:
    assert PAUSE.parse(key, entity(until_ms=until_ms)) is None
