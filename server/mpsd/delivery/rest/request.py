"""The head of a request: everything before the body.

What stays the same while a partition is assigned is written once; an ordinary record (first attempt, no headers of its
own) is one formatting operation.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mpsd.config import RestDelivery, idempotency_header, reveal
from mpsd.config.values import split_user
from mpsd.core.cloudevents import attributes_of_event, attributes_of_record, is_structured
from mpsd.core.content_type import NAMES, ContentTypes, content_encoding, looks_like_json
from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.idempotency import IdempotencyKeys
from mpsd.core.percent import TOKEN, VISIBLE, percent_encode
from mpsd.core.record import Record
from mpsd.core.record_headers import encode_headers, split_headers
from mpsd.core.target_template import Headers, TargetTemplate
from mpsd.delivery.rest.client.endpoint import Endpoint
from mpsd.delivery.rest.signature import Signer

ASSIGNMENTS_CACHED_MAX = 4096
"""Written beginnings kept; assignments that are over leave theirs behind until then."""

NAMES_USED = NAMES | {"traceparent", "tracestate"}
"""Headers of a record that become headers of their own, in lower case."""
TRACE_PARENT = re.compile(rb"[!-~]{1,256}")
TRACE_STATE = re.compile(rb"[!-~](?:[\t -~]{0,1022}[!-~])?")


class _Beginning(NamedTuple):
    """The lines that all requests of an assignment share.

    Attributes:
        lines: request line (where no record changes it) and headers up to the offset.
        ordinary: format of the whole head for offset, offset, timestamp, key, content type and length.
        ordinary_without_key: the same for offset, offset, timestamp, content type and length.
    """

    lines: bytes
    ordinary: bytes
    ordinary_without_key: bytes


class RequestHeads:
    """A writer of the heads of requests to one endpoint.

    Args:
        wall_s: seconds since the epoch, for signatures.

    Attributes:
        keys: what `Idempotency-Key`, `webhook-id` and `ce-id` say.
    """

    def __init__(
        self, subscription: str, delivery: RestDelivery, endpoint: Endpoint, wall_s: Callable[[], float]
    ) -> None:
        self._wall_s = wall_s
        self.keys = IdempotencyKeys(idempotency_header(delivery.idempotency_key))
        self._opening = opening_headers(subscription, delivery, endpoint)
        self._method = delivery.method
        self._target = TargetTemplate.of(endpoint.target)
        self._types = ContentTypes(delivery.content_type)
        self._signer = Signer.of(delivery)
        self._as_events = delivery.body == "cloudevents-binary"
        self._is_combined = delivery.record_headers == "combined"
        self._is_plain = self.keys.are_record_ids and not (
            self._as_events or self._signer is not None or self._target.needs_headers
        )
        self._beginnings: dict[Assignment, _Beginning] = {}

    def head(self, delivery: Delivery) -> bytes:
        """Return request line and headers with the empty line at their end; of any length.

        Raises:
            UnfilledError: the record has nothing that may fill a place of the URL.
        """
        assignment = delivery.origin
        beginning = self._beginnings.get(assignment) or self._begin(assignment)
        record = delivery.record
        value = record.value
        timestamp = record.timestamp
        if (
            record.headers
            or value is None
            or delivery.failures is not None
            or delivery.replay is not None
            or timestamp < 0
            or not self._is_plain
        ):
            return b"".join(self._parts(delivery, beginning))
        key = record.key
        offset = record.offset
        content_type = self._types.json if looks_like_json(value) else self._types.other
        if key is None:
            return beginning.ordinary_without_key % (offset, offset, timestamp, content_type, len(value))
        if key.translate(None, VISIBLE):
            key = percent_encode(key)
        return beginning.ordinary % (offset, offset, timestamp, key, content_type, len(value))

    def _begin(self, assignment: Assignment) -> _Beginning:
        opening = self._opening
        if not self._target.needs_headers:
            opening = self._request_line(assignment.tp.topic, ()) + opening
        lines = b"%bMps-Topic: %b\r\nMps-Partition: %d\r\nMps-Epoch: %d\r\n" % (
            opening,
            percent_encode(assignment.tp.topic.encode()),
            assignment.tp.partition,
            assignment.epoch,
        )
        fixed = lines.replace(b"%", b"%%")
        prefix = assignment.record_prefix.replace(b"%", b"%%")
        fields = b"Mps-Offset: %%d\r\nIdempotency-Key: %b%%d\r\nMps-Timestamp: %%d\r\n" % prefix
        rest = b"Mps-Attempt: 1\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        beginning = _Beginning(
            lines=lines,
            ordinary=fixed + fields + b"Mps-Key: %b\r\n" + rest,
            ordinary_without_key=fixed + fields + rest,
        )
        if len(self._beginnings) >= ASSIGNMENTS_CACHED_MAX:
            self._beginnings.clear()
        self._beginnings[assignment] = beginning
        return beginning

    def _request_line(self, topic: str, headers: Headers) -> bytes:
        return request_line(self._method, self._target.fill(topic, headers))

    def _parts(self, delivery: Delivery, beginning: _Beginning) -> Iterator[bytes]:
        record = delivery.record
        identity = self.keys.written(delivery)
        if self._target.needs_headers:
            yield self._request_line(record.topic, record.headers)
        yield beginning.lines
        yield b"Mps-Offset: %d\r\nIdempotency-Key: %b\r\n" % (record.offset, identity)
        if record.timestamp >= 0:
            yield b"Mps-Timestamp: %d\r\n" % record.timestamp
        if record.key is not None:
            yield b"Mps-Key: %b\r\n" % percent_encode(record.key)
        yield b"Mps-Attempt: %d\r\n" % delivery.attempt
        if record.value is None:
            yield b"Mps-Tombstone: true\r\n"
        if delivery.replay is not None:
            yield b"Mps-Replay: %b\r\n" % percent_encode(delivery.replay.encode())
        yield from self._header_parts(record, identity)
        body = record.value or b""
        if self._signer is not None:
            yield self._signer.headers(identity, body, int(self._wall_s()))
        yield b"Content-Length: %d\r\n\r\n" % len(body)

    def _header_parts(self, record: Record, identity: bytes) -> Iterator[bytes]:
        """Yield what the record's own headers and its value say, and what CloudEvents adds."""
        known = {lowered for name, _ in record.headers if (lowered := name.lower()) in NAMES_USED}
        content_type = self._types.of_value(record.value) if known.isdisjoint(NAMES) else self._types.of(record)
        yield b"Content-Type: %b\r\n" % content_type
        if "content-encoding" in known and (encoding := content_encoding(record.headers)):
            yield b"Content-Encoding: %b\r\n" % encoding
        if "traceparent" in known and (trace_parent := first_header(record, "traceparent", TRACE_PARENT)):
            yield b"traceparent: %b\r\n" % trace_parent
        if "tracestate" in known and (trace_state := first_header(record, "tracestate", TRACE_STATE)):
            yield b"tracestate: %b\r\n" % trace_state
        mapped: dict[str, bytes] = {}
        if self._as_events and not is_structured(content_type.decode()):
            attributes = attributes_of_event(record.headers)
            mapped = attributes or {}
            for name, value in (attributes or attributes_of_record(record, identity)).items():
                yield b"ce-%b: %b\r\n" % (name.encode(), value)
        headers = record.headers
        if mapped:
            headers = [each for each in headers if not (each[0].startswith("ce_") and each[0][3:] in mapped)]
        if self._is_combined and headers:
            for part in split_headers(encode_headers(headers)):
                yield b"Mps-Headers: %b\r\n" % part
        elif headers:
            for name, given in headers:
                yield b"Mps-Header-%b: %b\r\n" % (percent_encode(name.encode(), TOKEN), percent_encode(given or b""))


def request_line(method: str, target: bytes) -> bytes:
    return b"%b %b HTTP/1.1\r\n" % (method.encode(), target)


def opening_headers(subscription: str, delivery: RestDelivery, endpoint: Endpoint) -> bytes:
    """Return the headers that no record changes."""
    headers = {"Host": endpoint.authority, "User-Agent": "mpsd"}
    headers.update((name, reveal(value)) for name, value in delivery.headers.items())
    if authorization := _authorization(delivery):
        headers["Authorization"] = authorization
    headers["Mps-Subscription"] = percent_encode(subscription.encode()).decode()
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def _authorization(delivery: RestDelivery) -> str:
    """Return the credentials of the delivery or of its URL; empty if it has none."""
    auth = delivery.auth
    if auth is not None and auth.bearer is not None:
        return f"Bearer {reveal(auth.bearer)}"
    if auth is not None and auth.basic is not None:
        user: tuple[str, str] | None = (reveal(auth.basic.username), reveal(auth.basic.password))
    else:
        user = split_user(reveal(delivery.url))[1]
    return f"Basic {b64encode(':'.join(user).encode()).decode()}" if user is not None else ""


def first_header(record: Record, wanted: str, valid: re.Pattern[bytes]) -> bytes | None:
    """Return the first header of a name, in any case, whose value HTTP can carry."""
    for name, value in record.headers:
        if value and name.lower() == wanted and valid.fullmatch(value):
            return value
    return None
