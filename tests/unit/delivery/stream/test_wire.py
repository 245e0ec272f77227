"""Hand-written frames, read by the generated code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mps.delivery.v1 import delivery_pb2 as v1
from mpsd.core.content_type import ContentTypes
from mpsd.core.idempotency import IdempotencyKeys
from mpsd.delivery.stream.wire import ASSIGNMENTS_CACHED_MAX, RecordWriter, frame, payload_bytes, varint
from tests.conformance.deliveries import assigned, delivery


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16_383, 16_384, 2**21, 2**28, 2**41, 2**63 - 1, 2**64 - 1])
def test_numbers_are_as_protobuf_writes_them(number: int) -> None:
    assert v1.Credit(bytes=number).SerializeToString() == (b"\x10" + varint(number) if number else b"")


@given(
    delivery_id=st.integers(1, 2**64 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-1, 2**62),
    key=st.none() | st.binary(max_size=300),
    value=st.none() | st.binary(max_size=300) | st.sampled_from([b'{"a": 1}', b" [1] "]),
    headers=st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3).map(tuple),
    attempts=st.integers(0, 3),
)
def test_a_record_is_read_as_it_was_written(
    delivery_id: int,
    offset: int,
    timestamp: int,
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str, bytes | None], ...],
    attempts: int,
) -> None:
    made = delivery(offset=offset, timestamp=timestamp, key=key, value=value, headers=headers, attempts=attempts)
    written = RecordWriter(IdempotencyKeys()).write(delivery_id, made)
    (read,) = v1.SubscribeResponse.FromString(frame([written], len(written))).records.records
    expected = v1.Record(
        delivery_id=delivery_id,
        topic="orders",
        partition=3,
        offset=offset,
        key=key,
        value=value,
        timestamp_ms=timestamp,
        headers=[v1.Header(name=name, value=given) for name, given in headers],
        attempt=attempts + 1,
        epoch=7,
        content_type=ContentTypes().of(made.record).decode().replace("application/octet-stream", ""),
        idempotency_key=f"AAECAwQFBgcICQoLDA0ODw/3/{offset}",
    )
    assert read == expected
    assert payload_bytes(made.record) == len(key or b"") + len(value or b"") + sum(
        len(name.encode()) + len(given or b"") for name, given in headers
    )


@pytest.mark.parametrize("headers", [(), (("content-type", b"text/css"),)])
def test_a_configured_type_is_that_of_every_record(headers: tuple[tuple[str, bytes], ...]) -> None:
    for value in (b"{}", b"\x00"):
        written = RecordWriter(IdempotencyKeys(), "text/csv").write(1, delivery(value=value, headers=headers))
        (read,) = v1.SubscribeResponse.FromString(frame([written], len(written))).records.records
        assert (read.content_type, read.value) == ("text/csv", value)


def test_beginnings_of_assignments_that_are_over_do_not_pile_up() -> None:
    writer = RecordWriter(IdempotencyKeys())
    for epoch in range(ASSIGNMENTS_CACHED_MAX + 10):
        written = writer.write(1, delivery(assigned(epoch=epoch)))
        (read,) = v1.SubscribeResponse.FromString(frame([written], len(written))).records.records
        assert read.epoch == epoch
    assert len(writer._beginnings) <= ASSIGNMENTS_CACHED_MAX
