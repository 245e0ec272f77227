from mpsd.core.record import RECORD_OVERHEAD_BYTES, TopicPartition, record_bytes
from tests.fakes.records import Row


def test_a_partition_is_written_and_compared_as_people_do() -> None:
    assert str(TopicPartition("orders", 3)) == "orders/3"
    assert {TopicPartition("orders", 3)} == {("orders", 3)}


def test_a_record_counts_its_key_its_value_and_what_it_costs_to_hold_it() -> None:
    assert record_bytes(Row(key=b"12345", value=b"1234567")) == RECORD_OVERHEAD_BYTES + 5 + 7


def test_a_tombstone_without_a_key_costs_its_overhead_only() -> None:
    assert record_bytes(Row(key=None, value=None)) == RECORD_OVERHEAD_BYTES


def test_headers_count_too() -> None:
    bare = record_bytes(Row())
    assert record_bytes(Row(headers=[("name", b"value"), ("empty", None)])) >= bare + len("namevalueempty")
