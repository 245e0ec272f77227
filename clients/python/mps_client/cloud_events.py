"""Several records in one request (contract B): a JSON array of CloudEvents, and the answer for each of them.

What a record's request of its own says in headers stands here in extension attributes: `Mps-Attempt` is `mpsattempt`.
"""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from mps_client.http_records import BadRequestError, headers_of
from mps_client.record import Record
from mps_client.verdicts import Retry, Verdict, clipped

MEDIA_TYPE = b"application/cloudevents-batch+json"


def records_of(body: bytes) -> list[tuple[str, Record]]:
    """The records, each with the id by which the answer names it.

    A value that travels as JSON (`data`) has the meaning it had, and maybe other white space; any other is byte for byte.

    Raises:
        BadRequestError: this is no batch of the proxy's.
    """
    try:
        events = json.loads(body)
        if not isinstance(events, list):
            raise BadRequestError("a batch is an array")
        return [(str(event["id"]), _record(event)) for event in events]
    except KeyError as error:
        raise BadRequestError(f"an event has no {error.args[0]}: this is not from the proxy") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequestError(f"the batch is wrong: {error}") from None


def _record(event: Mapping[str, Any]) -> Record:
    key = event.get("mpskey")
    timestamp = event.get("mpstimestamp")
    return Record(
        str(event["mpstopic"]),
        int(event["mpspartition"]),
        int(event["mpsoffset"]),
        None if key is None else unquote_to_bytes(key),
        _value(event),
        headers_of(event["mpsheaders"]) if "mpsheaders" in event else (),
        None if timestamp is None else int(timestamp),
        int(event["mpsattempt"]),
        int(event.get("mpsepoch", 0)),
        unquote(event.get("mpsreplay", "")),
    )


def _value(event: Mapping[str, Any]) -> bytes | None:
    if "data_base64" in event:
        return b64decode(event["data_base64"], validate=True)
    if "data" in event:
        return json.dumps(event["data"], ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")
    return None if event.get("mpstombstone") else b""


def answer(verdicts: Sequence[tuple[str, Verdict]]) -> bytes:
    """The body: empty if all were processed, else who was not, and what is to become of each."""
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
