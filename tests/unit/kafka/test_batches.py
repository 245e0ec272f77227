"""A batch that cannot be read, among records of others."""

from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException

from mpsd.kafka.batches import Unreadable, _Records, collecting


def records(*yielded: Any) -> _Records:
    """Hands these out, and raises those that are errors."""

    def unpacked() -> Iterator[Any]:
        for each in yielded:
            if isinstance(each, Exception):
                raise each
            made.next_fetch_offset += 1
            yield each

    made = _Records("orders/0", None, None, 5, None, None, False, 0)
    made._records_iterator = unpacked()
    return made


def test_what_stands_before_it_is_handed_out_and_the_batch_is_told() -> None:
    with collecting() as found:
        assert list(records("a", "b", CorruptRecordException("Invalid CRC"))) == ["a", "b"]
    assert found == [Unreadable("orders/0", 7, "Invalid CRC")]


def test_where_nobody_gathers_it_is_an_error() -> None:
    with pytest.raises(CorruptRecordException):
        list(records(CorruptRecordException("Invalid CRC")))


def test_a_bug_is_no_batch_that_cannot_be_read() -> None:
    with collecting(), pytest.raises(KeyError):
        list(records(KeyError("x")))
