"""A request with one record (contract A), and its answer."""

import math
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from urllib.parse import unquote, unquote_to_bytes

from mps_client.record import OCTET_STREAM, Record
from mps_client.verdicts import Retry, Verdict

REASON_CHARS_MAX = 256
"""Length to which the daemon cuts `Mps-Reason`."""

_COMBINED = "mps-headers"
_SEPARATE = "mps-header-"
_BETWEEN_LINES = str.maketrans("", "", ", \t")
"""Characters that separate several header lines of one name; the value itself has none of them."""

RawHeaders = Iterable[tuple[bytes, bytes]]
Headers = list[tuple[bytes, bytes]]


class BadRequestError(Exception):
    """The error of a request that is not from the proxy; its text is the reason."""


def record_of(raw: RawHeaders, body: bytes) -> Record:
    """Return the record of a request.

    Args:
        raw: the headers, with names in lower case as in ASGI.

    Raises:
        BadRequestError: a header is missing or wrong.
    """
    fields: dict[str, str] = {}
    headers: list[tuple[str, bytes | None]] = []
    combined: str | None = None
    content_type = OCTET_STREAM
    for name, value in raw:
        text = name.decode("latin-1")
        if text == _COMBINED:
            combined = (combined or "") + value.decode("latin-1").translate(_BETWEEN_LINES)
        elif text.startswith(_SEPARATE):
            headers.append((unquote(text[len(_SEPARATE) :]), unquote_to_bytes(value)))
        elif text.startswith("mps-") or text == "idempotency-key":
            fields[text] = value.decode("latin-1")
        elif text == "content-type":
            content_type = value.decode("latin-1")
    if combined is not None:
        headers = headers_of(combined)
    key = fields.get("mps-key")
    timestamp = fields.get("mps-timestamp")
    try:
        return Record(
            unquote(fields["mps-topic"]),
            int(fields["mps-partition"]),
            int(fields["mps-offset"]),
            None if key is None else unquote_to_bytes(key),
            None if fields.get("mps-tombstone") == "true" else body,
            headers,
            None if timestamp is None else int(timestamp),
            int(fields["mps-attempt"]),
            int(fields.get("mps-epoch", "0")),
            unquote(fields.get("mps-replay", "")),
            content_type=content_type,
            idempotency_key=fields["idempotency-key"],
        )
    except KeyError as error:
        raise BadRequestError(f"there is no header {error.args[0]}: this is not from the proxy") from None
    except ValueError as error:
        raise BadRequestError(f"a header of the proxy is wrong: {error}") from None


def headers_of(text: str) -> list[tuple[str, bytes | None]]:
    """Return the headers in `name=value&name=value`, where both are percent-encoded and a null value has no `=`."""
    fields = [field.partition("=") for field in text.split("&")]
    return [(unquote(name), unquote_to_bytes(value) if is_given else None) for name, is_given, value in fields]


def answer(verdict: Verdict | None) -> tuple[int, Headers]:
    """Return the status and headers of the answer; no verdict means that the record was processed."""
    if verdict is None:
        return HTTPStatus.NO_CONTENT, []
    word = b"retry" if isinstance(verdict, Retry) else b"dead-letter"
    headers = [(b"mps-verdict", word), (b"mps-reason", header_text(verdict.reason))]
    if isinstance(verdict, Retry):
        if verdict.after_s:
            headers.append((b"retry-after", b"%d" % math.ceil(verdict.after_s)))
        return HTTPStatus.INTERNAL_SERVER_ERROR, headers
    return HTTPStatus.UNPROCESSABLE_ENTITY, headers


def header_text(text: str) -> bytes:
    """Return the part of the text that a header can carry: visible ASCII and spaces."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return shown.encode("ascii", errors="replace")[:REASON_CHARS_MAX].strip()


def value_of(raw: RawHeaders, wanted: bytes) -> bytes:
    """Return the value of the first header of that name, which is in lower case; empty if there is none."""
    return next((value for name, value in raw if name == wanted), b"")


def lanes(records: Sequence[Record]) -> list[list[Record]]:
    """Return the records of each key in their order; a record without a key is alone."""
    found: dict[object, list[Record]] = {}
    for record in records:
        lane: object = record if record.key is None else (record.topic, record.partition, record.key)
        found.setdefault(lane, []).append(record)
    return list(found.values())
