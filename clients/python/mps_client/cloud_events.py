"""Several records in one request (contract B): a JSON array of CloudEvents, and the answer for each of them.

The headers of a request with one record are extension attributes here: `Mps-Attempt` is `mpsattempt`.
"""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from mps_client.http_records import BadRequestError, headers_of
from mps_client.record import OCTET_STREAM, Record
from mps_client.verdicts import Retry, Verdict, clipped

MEDIA_TYPE = b"application/cloudevents-batch+json"

_DECODER = json.JSONDecoder()
_DATA = ',"data":'
"""The beginning of the last member of an event, as the daemon writes it."""


def records_of(body: bytes) -> list[tuple[str, Record]]:
    """Return the records, each with its id in the answer.

    Values are byte for byte those of Kafka, unless a proxy on the way has written the JSON again. Then a value that is
    JSON (`data`) may have other white space.

    Raises:
        BadRequestError: the body is not a batch of the proxy.
    """
    try:
        return [(str(event["id"]), _record(event, text)) for event, text in _events(body.decode())]
    except KeyError as error:
        raise BadRequestError(f"an event has no {error.args[0]}: this is not from the proxy") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequestError(f"the batch is wrong: {error}") from None


def _events(text: str) -> list[tuple[Mapping[str, Any], str]]:
    """Return each event with its text in the array; the text is empty if the daemon has not written it."""
    events: list[tuple[Mapping[str, Any], str]] = []
    at, last = 0, len(text) - 1
    with suppress(ValueError):
        while text[at : at + 1] == ("," if events else "["):
            event, end = _DECODER.raw_decode(text, at + 1)
            events.append((event, text[at + 1 : end]))
            if end == last and text[end] == "]":
                return events
            at = min(end, last)
    plain = json.loads(text)
    if not isinstance(plain, list):
        raise BadRequestError("a batch is an array")
    return [(event, "") for event in plain]


def _record(event: Mapping[str, Any], text: str) -> Record:
    key = event.get("mpskey")
    timestamp = event.get("mpstimestamp")
    return Record(
        str(event["mpstopic"]),
        int(event["mpspartition"]),
        int(event["mpsoffset"]),
        None if key is None else unquote_to_bytes(key),
        _value(event, text),
        headers_of(event["mpsheaders"]) if "mpsheaders" in event else (),
        None if timestamp is None else int(timestamp),
        int(event["mpsattempt"]),
        int(event.get("mpsepoch", 0)),
        unquote(event.get("mpsreplay", "")),
        content_type=str(event.get("datacontenttype", OCTET_STREAM)),
        idempotency_key=str(event["id"]),
    )


def _value(event: Mapping[str, Any], text: str) -> bytes | None:
    if "data_base64" in event:
        return b64decode(event["data_base64"], validate=True)
    if "data" not in event:
        return None if event.get("mpstombstone") else b""
    begin = text.find(_DATA)  # a text of JSON has no quote without a backslash
    if begin >= 0 and list(event)[-1] == "data":
        return text[begin + len(_DATA) : -1].encode(errors="surrogatepass")
    return json.dumps(event["data"], ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")


def answer(verdicts: Sequence[tuple[str, Verdict]]) -> bytes:
    """Return the body of the answer: empty if all records were processed, else the id and verdict of each other record."""
    if not verdicts:
        return b""
    return json.dumps({"failures": [_failure(event_id, verdict) for event_id, verdict in verdicts]}).encode()


def _failure(event_id: str, verdict: Verdict) -> dict[str, Any]:
    failure: dict[str, Any] = {"id": event_id, "reason": clipped(verdict.reason)}
    if isinstance(verdict, Retry):
        failure["action"] = "retry"
        if verdict.after_s:
            failure["retry_after_s"] = verdict.after_s
    else:
        failure["action"] = "dead-letter"
    return failure
