"""Reads the event log of an application: a JSON object a line, written when a delivery starts and when it ends.

    {"event": "application_started", "at_s": 81.1}
    {"event": "delivery_started", "at_s": 81.2, "topic": "orders", "partition": 3, "offset": 17, "key": "a%20b", "attempt": 1}
    {"event": "delivery_ended", "at_s": 81.3, "topic": "orders", "partition": 3, "offset": 17, "key": "a%20b", "answer": 200}
    {"event": "outage_began", "at_s": 82.0}
    {"event": "outage_ended", "at_s": 84.0}

`key` is as the contract sends it (percent-encoded, null without a key), `answer` the HTTP status, `reason` (optional)
what the application said. The log is outside input: a line that is none of these is an error that names it, except for
a last one cut short by a kill.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from mpsd.core.outcome import DELIVERED, Outcome, Rejected, Retryable, Unavailable
from mpsd.demo.guarantees.events import (
    DeliveryEnded,
    DeliveryStarted,
    OutageBegan,
    OutageEnded,
    SeenRecord,
    TimedEvent,
)
from mpsd.demo.guarantees.guarantee import RecordPosition
from mpsd.errors import MpsError

_RETRYABLE = frozenset({408, 425, 500, 501})
_UNAVAILABLE = frozenset({401, 402, 403, 404, 405, 407, 410, 421, 426, 429, 502, 503, 504})


class EventLogError(MpsError):
    """A line of an event log that cannot be understood."""

    code = "event_log.invalid"


def outcome_of(answer: int, reason: str) -> Outcome:
    """Return the outcome of an answer by the contract; written again here, because a judge does not ask the accused."""
    code = f"status_{answer}"
    if 200 <= answer < 300:
        return DELIVERED
    if answer in _UNAVAILABLE or 300 <= answer < 400:
        return Unavailable(code=code, reason=reason, status=answer)
    if answer in _RETRYABLE or answer >= 505:
        return Retryable(code=code, reason=reason, status=answer)
    return Rejected(code=code, reason=reason, status=answer)


def read_events(lines: Iterable[str]) -> Iterator[TimedEvent]:
    """Yield the events of a log, in its order.

    A delivery that an application had begun when it started anew has ended without an answer at that moment.

    Raises:
        EventLogError: names the line.
    """
    open_deliveries: dict[RecordPosition, SeenRecord] = {}
    cut_short: int | None = None
    for number, line in enumerate(lines, 1):
        if cut_short is not None:
            raise EventLogError(f"line {cut_short} of the event log is not JSON")
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            cut_short = number
            continue
        try:
            yield from _events_of(entry, open_deliveries)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EventLogError(f"line {number} of the event log: {error!r}") from error


def _events_of(entry: dict[str, Any], open_deliveries: dict[RecordPosition, SeenRecord]) -> Iterator[TimedEvent]:
    at_s = float(entry["at_s"])
    match entry["event"]:
        case "delivery_started":
            record = _record(entry)
            open_deliveries[RecordPosition.of(record)] = record
            yield DeliveryStarted(record, at_s, int(entry["attempt"]))
        case "delivery_ended":
            record = _record(entry)
            open_deliveries.pop(RecordPosition.of(record), None)
            yield DeliveryEnded(record, at_s, outcome_of(int(entry["answer"]), entry.get("reason", "")))
        case "outage_began":
            yield OutageBegan(at_s)
        case "outage_ended":
            yield OutageEnded(at_s)
        case "application_started":
            lost = Retryable(code="lost", reason="the application ended before it answered", lost=True)
            yield from (DeliveryEnded(record, at_s, lost) for record in open_deliveries.values())
            open_deliveries.clear()
        case unknown:
            raise ValueError(f"there is no event {unknown!r}")


def _record(entry: dict[str, Any]) -> SeenRecord:
    key = entry["key"]
    return SeenRecord(
        topic=entry["topic"],
        partition=int(entry["partition"]),
        offset=int(entry["offset"]),
        key=None if key is None else unquote_to_bytes(key),
    )
