"""CloudEvents in binary mode: from a record to `ce-*` headers.

A record that already is an event (its `ce_*` headers say so) is mapped attribute by attribute; any other record
becomes the data of an event of ours.

Source: CloudEvents 1.0.2, Kafka protocol binding section 3.2, HTTP protocol binding section 3.1.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from mpsd.core.percent import CLOUDEVENTS, percent_encode
from mpsd.core.record import Record

RECORD_TYPE = b"kafka.record.v1"
"""`ce-type` of a record that was no event before."""

_ATTRIBUTE = re.compile(r"ce_([a-z0-9]+)")
_REQUIRED = frozenset({"specversion", "id", "source", "type"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def attributes_of_event(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, bytes] | None:
    """Return the attributes of a record that is an event in binary mode, encoded for HTTP; None for any other record.

    Of an attribute that is there twice the first counts; one that is no UTF-8 text is none.
    """
    attributes: dict[str, bytes] = {}
    for name, value in headers:
        found = _ATTRIBUTE.fullmatch(name)
        if found and value and found[1] not in attributes and _is_text(value):
            attributes[found[1]] = percent_encode(value, CLOUDEVENTS)
    return attributes if attributes.keys() >= _REQUIRED else None


def attributes_of_record(record: Record, identity: bytes) -> dict[str, bytes]:
    """Return the attributes of a record that is no event.

    Args:
        identity: the idempotency key of the delivery; it makes the pair of source and id unique.
    """
    attributes = {
        "specversion": b"1.0",
        "id": percent_encode(identity, CLOUDEVENTS),
        "source": percent_encode(f"/kafka/{record.topic}/{record.partition}".encode(), CLOUDEVENTS),
        "type": RECORD_TYPE,
    }
    if (time := rfc3339(record.timestamp)) is not None:
        attributes["time"] = time
    if record.key and _is_text(record.key):
        attributes["partitionkey"] = percent_encode(record.key, CLOUDEVENTS)
    return attributes


def is_structured(content_type: str) -> bool:
    """Return True if the record's value is a whole event (structured mode), to be posted as it is."""
    return content_type.lower().startswith("application/cloudevents")


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def rfc3339(timestamp_ms: int) -> bytes | None:
    """Return a timestamp as text; None if there is none, or one beyond the year 9999."""
    if timestamp_ms < 0:
        return None
    try:
        return (_EPOCH + timedelta(milliseconds=timestamp_ms)).isoformat(timespec="milliseconds")[:-6].encode() + b"Z"
    except OverflowError:
        return None
