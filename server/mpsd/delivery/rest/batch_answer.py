"""The meaning of an answer for each of several records: pure.

An answer counts as a whole or not at all: one that names what was not sent, or the same record twice, cannot be believed
about the others either.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mpsd.core.outcome import Outcome, Rejected, Retryable
from mpsd.delivery.rest.answer import AnswerRules, printable
from mpsd.delivery.rest.client.answer_reader import Answer

FAILURE_BYTES_MAX = 1024
"""Bytes of an answer for each record of the largest batch, beside `response_body_bytes_max`: an id, an action, a
reason of 256 characters and a pause fit well."""


class Unbelievable(Exception):  # noqa: N818 - what was received, not what went wrong here
    """A body that the contract does not allow."""


def failures(answer: Answer, sent: Collection[str], rules: AnswerRules) -> Mapping[str, Outcome]:
    """Return the outcomes of the records that failed, by id.

    Args:
        sent: ids of the records that the request carried.

    Raises:
        Unbelievable: the message says why.
    """
    try:
        given = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise Unbelievable("a body that is neither empty nor JSON") from error
    listed = given.get("failures") if isinstance(given, dict) else None
    if not isinstance(listed, list):
        raise Unbelievable('a body that is neither empty nor an object with a list "failures"')
    found: dict[str, Outcome] = {}
    for record_id, outcome in _read(listed, answer.status, rules):
        if record_id not in sent:
            raise Unbelievable(f"a failure of {printable(record_id)!r}, which was not sent")
        if record_id in found:
            raise Unbelievable(f"two failures of {record_id!r}")
        found[record_id] = outcome
    return found


def _read(listed: list[Any], status: int, rules: AnswerRules) -> Iterator[tuple[str, Outcome]]:
    for each in listed:
        if not isinstance(each, dict):
            raise Unbelievable("a failure that is no object")
        record_id, reason, wait_s = each.get("id"), each.get("reason"), each.get("retry_after_s")
        if not isinstance(record_id, str):
            raise Unbelievable('a failure whose "id" is no string')
        if not isinstance(reason, str | None):
            raise Unbelievable('a failure whose "reason" is no string')
        words = f"answered {status}: {printable(reason)}" if reason else f"answered {status}: it named the record"
        match each.get("action"):
            case "retry":
                after_s = min(_seconds(wait_s), rules.retry_after_max_s)
                yield record_id, Retryable(code="verdict_retry", reason=words, status=status, retry_after_s=after_s)
            case "dead-letter":
                yield record_id, Rejected(code="verdict_dead_letter", reason=words, status=status)
            case _:
                raise Unbelievable('a failure whose "action" is neither "retry" nor "dead-letter"')


def _seconds(given: Any) -> float:
    if given is None:
        return 0.0
    if isinstance(given, int | float) and not isinstance(given, bool) and given >= 0 and math.isfinite(given):
        return float(given)
    raise Unbelievable('a failure whose "retry_after_s" is no number of seconds')
