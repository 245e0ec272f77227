import json

import pytest

from mpsd.core.codec import bytes_of, text_of
from mpsd.core.control import (
    REQUEST_AGE_MAX_MS,
    ControlState,
    Entity,
    EntityKey,
    OfSubscription,
    Provenance,
    described,
    headers_of,
    key_bytes,
    parse_key,
    value_bytes,
)
from mpsd.core.limits import LIMIT, Limit

PAUSE: EntityKey = ("billing", "pause", "orders")
WHO = Provenance("ann", "broken", 1_000, "r-1", "127.0.0.1:7070")


def written(
    state: ControlState,
    offset: int,
    key: EntityKey = PAUSE,
    until_ms: int | None = None,
    request_id: str = "",
    at_ms: int = 5_000,
) -> EntityKey | None:
    headers = headers_of(WHO._replace(request_id=request_id))
    return state.apply(offset, key_bytes(key), value_bytes({"until_ms": until_ms}), headers, at_ms)


def test_the_last_record_of_an_entity_wins_and_its_offset_is_the_revision() -> None:
    state = ControlState(["billing"])
    assert state.revision == -1
    assert written(state, 3, until_ms=1) == PAUSE
    assert written(state, 7, until_ms=2) == PAUSE
    entity = state.get(PAUSE)
    assert entity is not None
    assert (entity.document, entity.revision) == ({"until_ms": 2}, 7)
    assert dict(state.of_kind("billing", "pause")) == {PAUSE: entity}
    assert not state.of_kind("billing", "limit")
    assert repr(state) == "<ControlState revision=7 entities=1 ignored=0>"


def test_null_removes_an_entity_and_says_whose_doing_it_was() -> None:
    state = ControlState(["billing"])
    written(state, 1)
    assert state.apply(2, key_bytes(PAUSE), None, headers_of(WHO), 5_000) == PAUSE
    assert state.get(PAUSE) is None
    assert state.get(("billing", "never", "there")) is None
    assert state.apply(3, key_bytes(PAUSE), None, [], 5_000) == PAUSE, "what is gone can be removed again"
    request = state.request("r-1")
    assert request is not None
    assert (request.key, request.revision) == (PAUSE, 2)


def test_provenance_is_read_back_and_its_lack_does_no_harm() -> None:
    state = ControlState(["billing"])
    state.apply(1, key_bytes(PAUSE), value_bytes({}), headers_of(WHO), 5_000)
    entity = state.get(PAUSE)
    assert entity is not None
    assert entity.provenance == WHO
    for headers in (
        [],
        [("mps-at-ms", b"-3")],
        [("mps-at-ms", "٣".encode())],
        [("mps-at-ms", None)],
        [("mps-at-ms", b"9" * 99)],
    ):
        state.apply(2, key_bytes(PAUSE), value_bytes({}), headers, 5_000)
        entity = state.get(PAUSE)
        assert entity is not None
        assert entity.provenance == Provenance("", "", 5_000, "", "")


def test_records_of_other_groups_are_passed_over_but_seen() -> None:
    state = ControlState(["billing"])
    assert written(state, 4, ("shipping", "pause", "orders")) is None
    assert state.revision == 4
    assert not state.ignored


@pytest.mark.parametrize(
    "key",
    [
        None,
        b"",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b'["billing"]',
        b'["billing",1]',
        b'["billing", "pause", "orders"]',
        b'["billing","pause","\\ud800"]',
        b"[" * 100_000,
    ],
)
def test_a_key_of_another_form_is_ignored_and_counted(key: bytes | None) -> None:
    state = ControlState(["billing"])
    assert state.apply(9, key, value_bytes({}), [], 0) is None
    assert state.ignored == {"unreadable-key": 1}
    assert state.revision == 9


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "unreadable-value"),
        (b"\xff", "unreadable-value"),
        (b"[]", "unreadable-value"),
        (b"{}", "unreadable-value"),
        (b'{"version":true}', "unreadable-value"),
        (b"[" * 100_000, "unreadable-value"),
        (b'{"version":2}', "other-version"),
    ],
)
def test_a_value_of_another_form_or_version_changes_nothing(value: bytes, reason: str) -> None:
    state = ControlState(["billing"])
    written(state, 1, until_ms=1)
    assert state.apply(2, key_bytes(PAUSE), value, [], 0) is None
    assert state.ignored == {reason: 1}
    entity = state.get(PAUSE)
    assert entity is not None
    assert entity.revision == 1


def test_there_is_a_bound_of_entities() -> None:
    state = ControlState(["billing"], entities_max=1)
    written(state, 1)
    assert written(state, 2, ("billing", "pause", "more")) is None
    assert state.ignored == {"too-many": 1}
    assert written(state, 3) == PAUSE, "what is known may still change"
    state.apply(4, key_bytes(PAUSE), None, [], 0)
    assert written(state, 5, ("billing", "pause", "more")) is not None


def test_a_request_id_stands_for_its_first_change_for_a_day_of_the_log() -> None:
    state = ControlState(["billing"])
    written(state, 1, request_id="a", at_ms=0)
    written(state, 2, request_id="a", at_ms=1)
    written(state, 3, request_id="b", at_ms=REQUEST_AGE_MAX_MS)
    request = state.request("a")
    assert request is not None
    assert request.revision == 1
    written(state, 4, at_ms=REQUEST_AGE_MAX_MS + 1)
    assert state.request("a") is None
    assert state.request("b") is not None


def test_there_is_a_bound_of_request_ids() -> None:
    state = ControlState(["billing"], requests_max=2)
    for number in range(3):
        written(state, number, request_id=str(number))
    assert state.request("0") is None
    assert state.request("1") is not None


def test_another_topic_begins_anew_while_what_is_known_holds() -> None:
    state = ControlState(["billing"])
    written(state, 8, request_id="a")
    known = state.begin_anew()
    assert list(known) == [PAUSE]
    assert state.revision == -1
    assert state.request("a") is None
    assert state.get(PAUSE) is known[PAUSE]
    written(state, 1)
    assert state.get(PAUSE) is not known[PAUSE]


def test_keys_and_values_are_compact_json() -> None:
    assert key_bytes(("b", "pause", "ä")) == '["b","pause","ä"]'.encode()
    assert parse_key('["b","pause","ä"]'.encode()) == ("b", "pause", "ä")
    assert json.loads(value_bytes({"until_ms": 3})) == {"version": 1, "until_ms": 3}


@pytest.mark.parametrize("data", [None, b"", b"k1", b"\xff\x00\xfb\xef"])
def test_bytes_are_a_part_of_a_key_as_text(data: bytes | None) -> None:
    assert bytes_of(text_of(data)) == data


@pytest.mark.parametrize("text", ["x", "=!", "=YQ", "=YR==", "=YWE=\n"])
def test_text_of_another_form_is_no_bytes(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        bytes_of(text)


def test_an_entity_is_described_as_far_as_there_is_room() -> None:
    provenance = Provenance("ann", "r" * 5_000, 7, "id", "here")
    small = Entity(document={"n": 1}, revision=3, provenance=provenance)
    assert described(small) == {"who": "ann", "reason": "r" * 1_024, "changed_at_ms": "7", "state": '{"n":1}'}
    assert "state" not in described(Entity(document={"n": "x" * 2_000}, revision=3, provenance=provenance))
    assert described(None) == {}


def test_values_of_a_kind_are_typed_and_those_that_cannot_be_read_are_left_out() -> None:
    state = ControlState(["billing"])
    key = LIMIT.entity_key("billing", OfSubscription("orders"))
    made = Limit(rate_max_per_s=2.5, concurrency_max=None, revision=1, provenance=WHO)
    state.apply(1, key_bytes(key), value_bytes(LIMIT.document(made)), headers_of(WHO), 0)
    state.apply(2, key_bytes((*key, "more")), value_bytes(LIMIT.document(made)), (), 0)
    other = LIMIT.entity_key("billing", OfSubscription("bills"))
    state.apply(3, key_bytes(other), value_bytes({"rate_max_per_s": "fast", "concurrency_max": 1}), (), 0)
    assert state.values(LIMIT, "billing") == {OfSubscription("orders"): made}
    assert state.values(LIMIT, "shipping") == {}
