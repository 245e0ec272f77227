"""Several records in one body: a JSON array of CloudEvents.

What a record's POST of its own says in headers stands here in extension attributes: `Mps-Attempt` is `mpsattempt`. Bytes
that need not be text (the key, headers) are percent-encoded as there; numbers that may not fit 32 bits are strings, as
CloudEvents knows no larger integers. An ordinary record (first attempt, no headers of its own) is one formatting operation.

Source: CloudEvents 1.0.2, JSON event format, sections 3.1 and 4; distributed tracing extension.
"""

from binascii import b2a_base64
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from json import dumps
from typing import NamedTuple

from pydantic_core import SchemaValidator, core_schema, from_json

from mpsd.config import RestDelivery, idempotency_header
from mpsd.core.cloudevents import RECORD_TYPE, rfc3339
from mpsd.core.content_type import ContentTypes, content_encoding, looks_like_json
from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.idempotency import IdempotencyKeys
from mpsd.core.percent import JSON_TEXT, percent_encode
from mpsd.core.record_headers import encode_headers
from mpsd.core.target_template import TargetTemplate
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.delivery.rest.request import (
    ASSIGNMENTS_CACHED_MAX,
    TRACE_PARENT,
    TRACE_STATE,
    first_header,
    opening_headers,
    request_line,
)
from mpsd.delivery.rest.signature import Signer

TIMESTAMP_END_MS = 253_402_300_800_000
"""The year 10000, which RFC 3339 cannot say."""
MEDIA_TYPE = b"application/cloudevents-batch+json"
BATCH_ID_DIGITS = 32
"""128 bits of a digest: no two requests have the same by chance."""
_ANY_OBJECT = SchemaValidator(core_schema.typed_dict_schema({}, extra_behavior="ignore"))
"""Reads an object and keeps nothing of it, in half the time of a parser; it takes NaN and Infinity, which JSON does not."""


class Batch:
    """One request.

    Attributes:
        body: of the request, between its making and its sending.
    """

    __slots__ = ("body", "deliveries")

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self.deliveries = deliveries
        self.body = b""

    def take_body(self) -> bytes:
        """Return the body and forget it, because the transport holds it from then on."""
        body, self.body = self.body, b""
        return body

    def concerns(self, assignment: Assignment) -> bool:
        return any(delivery.assignment is assignment for delivery in self.deliveries)


class _Beginning(NamedTuple):
    """The members that all events of an assignment share.

    Attributes:
        members: up to what differs.
        ordinary: format of a whole event for id, offset, timestamp, key and value; see `_ORDINARY`.
    """

    members: bytes
    ordinary: bytes


class _Data(NamedTuple):
    """The way in which values of one media type stand in an event.

    Attributes:
        as_json: what stands before a value that is JSON; empty for a type that is not.
        as_base64: what stands before any other value.
    """

    as_json: bytes
    as_base64: bytes

    def written(self, value: bytes) -> tuple[bytes, bytes, bytes]:
        """Return the type and the value, in three parts that stand behind each other."""
        if self.as_json and _is_json(value):
            return self.as_json, value, b""
        return self.as_base64, b2a_base64(value, newline=False), b'"'


class BatchRequests:
    """A writer of requests with several records to one endpoint.

    Args:
        wall_s: seconds since the epoch, for signatures.

    Attributes:
        keys: the `id` of each event: what `Idempotency-Key` is elsewhere. Producers may give two records the same.

    Raises:
        ValueError: the URL has places that each record fills.
    """

    def __init__(
        self, subscription: str, delivery: RestDelivery, endpoint: Endpoint, wall_s: Callable[[], float]
    ) -> None:
        self._wall_s = wall_s
        self._subscription = subscription
        self._types = ContentTypes(delivery.content_type)
        self._json_type = _data_beginning(self._types.json)
        self._other_type = _data_beginning(self._types.other)
        if TargetTemplate.of(endpoint.target):
            raise ValueError("has places to fill, which several records of one request cannot")
        line = request_line(delivery.method, endpoint.target.encode())
        self._opening = line + opening_headers(subscription, delivery, endpoint) + b"Content-Type: %b\r\n" % MEDIA_TYPE
        self._signer = Signer.of(delivery)
        self.keys = IdempotencyKeys(idempotency_header(delivery.idempotency_key))
        self._is_plain = self.keys.are_record_ids
        self._beginnings: dict[Assignment, _Beginning] = {}
        self._second = -1
        self._second_text = b""

    def head(self, batch: Batch) -> bytes:
        """Return request line and headers with the empty line at their end; store the body in the batch."""
        body = batch.body = b"[%b]" % b",".join(self._events(batch.deliveries))
        signature = b""
        if self._signer is not None:
            signature = self._signer.headers(self._batch_id(batch.deliveries), body, int(self._wall_s()))
        count = len(batch.deliveries)
        return b"%b%bMps-Records: %d\r\nContent-Length: %d\r\n\r\n" % (self._opening, signature, count, len(body))

    def _batch_id(self, deliveries: Sequence[Delivery]) -> bytes:
        """Return what names a request: the same only for the same records, because it may be made with others again."""
        return sha256(b"\n".join(map(self.keys.of, deliveries))).hexdigest()[:BATCH_ID_DIGITS].encode()

    def _events(self, deliveries: Sequence[Delivery]) -> Iterator[bytes]:
        beginnings, is_plain = self._beginnings, self._is_plain
        for delivery in deliveries:
            assignment, record = delivery.origin, delivery.record
            beginning = beginnings.get(assignment) or self._begin(assignment)
            value, key, timestamp, offset = record.value, record.key, record.timestamp, record.offset
            if (
                record.headers
                or value is None
                or key is None
                or not 0 <= timestamp < TIMESTAMP_END_MS
                or delivery.failures is not None
                or delivery.replay is not None
                or not is_plain
            ):
                yield b"".join(self._parts(delivery, beginning))
                continue
            if key.translate(None, JSON_TEXT):
                key = percent_encode(key, JSON_TEXT)
            begun = self._json_type if looks_like_json(value) else self._other_type
            data = begun.written(value)
            yield beginning.ordinary % (offset, offset, timestamp, self._time(timestamp), key, *data)

    def _begin(self, assignment: Assignment) -> _Beginning:
        tp = assignment.tp
        members = b'{"specversion":"1.0","type":"%b","source":"/kafka/%b/%d",%b' % (
            RECORD_TYPE,
            percent_encode(tp.topic.encode(), JSON_TEXT),
            tp.partition,
            b'"mpssubscription":%b,"mpstopic":%b,"mpspartition":%d,"mpsepoch":%d,'
            % (dumps(self._subscription).encode(), dumps(tp.topic).encode(), tp.partition, assignment.epoch),
        )
        fixed = members.replace(b"%", b"%%")
        prefix = assignment.record_prefix.replace(b"%", b"%%")
        ordinary = (
            b'%b"id":"%b%%d","mpsoffset":"%%d","mpstimestamp":"%%d","time":"%%b","mpskey":"%%b","mpsattempt":1,'
            b"%%b%%b%%b}" % (fixed, prefix)
        )
        beginning = _Beginning(members, ordinary)
        if len(self._beginnings) >= ASSIGNMENTS_CACHED_MAX:
            self._beginnings.clear()
        self._beginnings[assignment] = beginning
        return beginning

    def _time(self, timestamp_ms: int) -> bytes:
        """Return a timestamp as RFC 3339 text; keeps the last second, because most neighbours share it."""
        second, millisecond = divmod(timestamp_ms, 1000)
        if second != self._second:
            self._second, self._second_text = second, (rfc3339(second * 1000) or b"").removesuffix(b"000Z")
        return b"%b%03dZ" % (self._second_text, millisecond)

    def _parts(self, delivery: Delivery, beginning: _Beginning) -> Iterator[bytes]:
        record = delivery.record
        yield beginning.members
        yield b'"id":%b,"mpsoffset":"%d"' % (_text(self.keys.written(delivery)), record.offset)
        if record.timestamp >= 0:
            yield b',"mpstimestamp":"%d"' % record.timestamp
            if record.timestamp < TIMESTAMP_END_MS:
                yield b',"time":"%b"' % self._time(record.timestamp)
        if record.key is not None:
            yield b',"mpskey":"%b"' % percent_encode(record.key, JSON_TEXT)
        yield b',"mpsattempt":%d' % delivery.attempt
        if delivery.replay is not None:
            yield b',"mpsreplay":"%b"' % percent_encode(delivery.replay.encode(), JSON_TEXT)
        if trace_parent := first_header(record, "traceparent", TRACE_PARENT):
            yield b',"traceparent":%b' % _text(trace_parent)
        if trace_state := first_header(record, "tracestate", TRACE_STATE):
            yield b',"tracestate":%b' % _text(trace_state)
        if record.headers:
            yield b',"mpsheaders":"%b"' % encode_headers(record.headers)
        if record.value is None:
            yield b',"mpstombstone":true}'
        else:
            begun = _data_beginning(self._types.of(record), is_encoded=content_encoding(record.headers) is not None)
            yield b",%b%b%b}" % begun.written(record.value)


def _data_beginning(content_type: bytes, *, is_encoded: bool = False) -> _Data:
    named = b'"datacontenttype":%b,' % _text(content_type)
    is_json = _is_json_type(content_type) and not is_encoded
    return _Data(as_json=named + b'"data":' if is_json else b"", as_base64=named + b'"data_base64":"')


def _is_json_type(content_type: bytes) -> bool:
    """Return True for a JSON media type. Source: CloudEvents 1.0.2, JSON event format, section 3.1."""
    media_type = content_type.split(b";", 1)[0].strip().lower()
    return media_type.endswith((b"/json", b"+json"))


def _is_json(value: bytes) -> bool:
    """Return True for one JSON text in UTF-8, which can stand in another."""
    try:
        if value.startswith(b"{") and b"NaN" not in value and b"Infinity" not in value:
            _ANY_OBJECT.validate_json(value)
        else:
            from_json(value, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _text(value: bytes) -> bytes:
    return dumps(value.decode("latin-1")).encode()
