from dataclasses import dataclass

import pytest

from mpsd.core.cloudevents import attributes_of_event, attributes_of_record, is_structured

EVENT = [("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_source", b"/shop"), ("ce_type", b"order.placed")]


@dataclass
class Row:
    topic: str = "orders"
    partition: int = 3
    offset: int = 1842
    timestamp: int = 1_700_000_000_123
    key: bytes | None = b"k 1"
    value: bytes | None = b"{}"
    headers: tuple[tuple[str, bytes | None], ...] = ()


def test_an_event_is_mapped_attribute_by_attribute() -> None:
    assert attributes_of_event([*EVENT, ("ce_subject", 'a "b" é'.encode()), ("other", b"x")]) == {
        "specversion": b"1.0",
        "id": b"7",
        "source": b"/shop",
        "type": b"order.placed",
        "subject": b"a%20%22b%22%20%C3%A9",
    }


def test_of_an_attribute_that_is_there_twice_the_first_counts() -> None:
    attributes = attributes_of_event([*EVENT, ("ce_id", b"8")])
    assert attributes is not None
    assert attributes["id"] == b"7"


@pytest.mark.parametrize("odd", [("ce_Bad", b"x"), ("ce_", b"x"), ("ce_bytes", b"\xff"), ("ce_null", None)])
def test_what_is_no_attribute_stays_away(odd: tuple[str, bytes | None]) -> None:
    assert attributes_of_event([*EVENT, odd]) == attributes_of_event(EVENT)


def test_a_record_without_all_required_attributes_is_no_event() -> None:
    assert attributes_of_event(EVENT[1:]) is None
    assert attributes_of_event([]) is None


def test_any_other_record_is_the_data_of_an_event_of_ours() -> None:
    assert attributes_of_record(Row(), b'id/3/1842#"r') == {
        "specversion": b"1.0",
        "id": b"id/3/1842#%22r",
        "source": b"/kafka/orders/3",
        "type": b"kafka.record.v1",
        "time": b"2023-11-14T22:13:20.123Z",
        "partitionkey": b"k%201",
    }


@pytest.mark.parametrize("timestamp", [-1, 2**62])
def test_a_time_that_cannot_be_said_is_left_out(timestamp: int) -> None:
    assert "time" not in attributes_of_record(Row(timestamp=timestamp), b"id")


@pytest.mark.parametrize("key", [None, b"", b"\xff"])
def test_a_key_that_is_no_text_is_left_out(key: bytes | None) -> None:
    assert "partitionkey" not in attributes_of_record(Row(key=key), b"id")


def test_a_structured_event_is_told_by_its_content_type() -> None:
    assert is_structured("application/CloudEvents+json; charset=utf-8")
    assert not is_structured("application/json")
