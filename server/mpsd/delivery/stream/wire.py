"""Frames of records as bytes: each record is written once, straight into the frame that carries it.

A frame is `SubscribeResponse{records: Records{records: [Record…]}}`. In protobuf's encoding that is tags and lengths around
the records' own bytes, so a frame is one join, and what the records of an assignment have in common is written once.
The generated code would make an object a record and copy each twice: 1.5 µs against 0.8 for a record of 1 KiB.

Source: "Encoding", protobuf.dev; fields of a message may come in any order.
"""

from mps.delivery.v1 import delivery_pb2
from mpsd.core.content_type import AUTO, OCTET_STREAM, ContentTypes, looks_like_json
from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.idempotency import IdempotencyKeys
from mpsd.core.record import Record

ASSIGNMENTS_CACHED_MAX = 4096
"""Written beginnings kept; assignments that are over leave theirs behind until then."""


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


_SMALL = [_varint(number) for number in range(1 << 14)]
_CONTINUED = [bytes((number & 0x7F | 0x80, number >> 7 | 0x80)) for number in range(1 << 14)]


def varint(number: int) -> bytes:
    """Encode a number of 0 up to 2**64 - 1 in protobuf's variable length."""
    if number < 0x4000:
        return _SMALL[number]
    return _CONTINUED[number & 0x3FFF] + varint(number >> 14)


class RecordWriter:
    """A writer of records as they are in a frame.

    Holds at most: the beginnings of `ASSIGNMENTS_CACHED_MAX` assignments.

    Args:
        keys: the idempotency keys of the subscription.
        content_type: `auto`, or the media type of every record.
    """

    def __init__(self, keys: IdempotencyKeys, content_type: str = AUTO) -> None:
        self._keys = keys
        self._is_plain = keys.are_record_ids
        self._types = ContentTypes(content_type)
        self._json_type = delivery_pb2.Record(content_type=self._types.json.decode()).SerializeToString()
        self._other_type = delivery_pb2.Record(content_type=_told(self._types.other)).SerializeToString()
        self._beginnings: dict[Assignment, bytes] = {}

    def write(self, delivery_id: int, delivery: Delivery) -> bytes:
        """Return one element of `Records.records`, with its tag and length."""
        assignment, record = delivery.origin, delivery.record
        beginning = self._beginnings.get(assignment) or self._begin(assignment)
        key, value, timestamp = record.key, record.value, record.timestamp
        if (
            record.headers
            or key is None
            or value is None
            or timestamp < 0
            or delivery.failures is not None
            or delivery.replay is not None
            or not self._is_plain
        ):
            rest = _unusual(delivery, record, _told(self._types.of(record)), self._keys.written(delivery))
            body = b"%b\x08%b%b" % (beginning, varint(delivery_id), rest)
        else:
            record_id = b"%b%d" % (assignment.record_prefix, record.offset)
            body = b"%b%b\x08%b\x6a%b%b\x20%b\x38%b\x48\x01\x2a%b%b\x32%b%b" % (
                beginning,
                self._json_type if looks_like_json(value) else self._other_type,
                varint(delivery_id),
                varint(len(record_id)),
                record_id,
                varint(record.offset),
                varint(timestamp),
                varint(len(key)),
                key,
                varint(len(value)),
                value,
            )
        return b"\x0a%b%b" % (varint(len(body)), body)

    def _begin(self, assignment: Assignment) -> bytes:
        """Return topic, partition and epoch as they are in each record of an assignment."""
        tp = assignment.tp
        written = delivery_pb2.Record(topic=tp.topic, partition=tp.partition, epoch=assignment.epoch)
        if len(self._beginnings) >= ASSIGNMENTS_CACHED_MAX:
            self._beginnings.clear()
        self._beginnings[assignment] = beginning = written.SerializeToString()
        return beginning


def _told(content_type: bytes) -> str:
    """Return the type as it stands in a record: nothing for arbitrary bytes."""
    return "" if content_type == OCTET_STREAM else content_type.decode()


def _unusual(delivery: Delivery, record: Record, content_type: str, idempotency_key: bytes) -> bytes:
    """Return the fields of a record that vary, for a record of any kind."""
    return delivery_pb2.Record(
        offset=record.offset,
        key=record.key,
        value=record.value,
        timestamp_ms=record.timestamp,
        headers=[delivery_pb2.Header(name=name, value=value) for name, value in record.headers],
        attempt=delivery.attempt,
        replay=delivery.replay or "",
        content_type=content_type,
        idempotency_key=idempotency_key.decode("ascii"),
    ).SerializeToString()


def frame(records: list[bytes], size: int) -> bytes:
    """Return a `SubscribeResponse` of written records.

    Args:
        size: their bytes together.
    """
    return b"".join((b"\x12", varint(size), *records))


def payload_bytes(record: Record) -> int:
    """Return the bytes that a record takes of a stream's credit: key, value and headers."""
    size = len(record.key or b"") + len(record.value or b"")
    if record.headers:
        size += sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
    return size
