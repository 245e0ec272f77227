"""Advice on an application, from its answers; pure."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from mpsd.config.subscription import Retry
from mpsd.core.answer_reason import one_line, reason_of
from mpsd.core.outcome import Delivered, Outcome, Rejected, Retryable, Unavailable, Undeliverable, Withdrawn, code_of
from mpsd.devtools.deliverer import StepResult
from mpsd.devtools.samples import CONCURRENT

STEPS_NAMED_MAX = 3
"""Steps that one piece of advice names; further ones are counted."""
SLOW_SHARE = 0.5
"""Part of the time-out that an answer may take before it counts as slow."""
SERIAL_SHARE = 0.8
SERIAL_S_MIN = 0.02
"""Answers faster than this say nothing about how many are worked on at once."""
ATTEMPTS_MAX = Retry.model_fields["attempts_max"].default
"""Attempts where nobody has configured them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing to improve.

    Attributes:
        level: a problem loses, delays or repeats records; a hint costs speed, or may be meant.
        answer_body: the body of the application's answer, on one line; empty if it had none, or if it is not about an answer.
    """

    level: Literal["problem", "hint"]
    step: str
    text: str
    answer_body: str = ""


def describe(outcome: Outcome) -> str:
    """Describe what the proxy would do with the record."""
    match outcome:
        case Delivered():
            return "accepted"
        case Rejected():
            return "dead-lettered at once"
        case Retryable():
            return f"retried; after {ATTEMPTS_MAX} attempts dead-lettered"
        case Unavailable(throttled=True):
            return "waits, at no charge; deliveries slow down"
        case Unavailable():
            return "taken for an outage: waits, deliveries pause"
        case Undeliverable():
            return "dead-lettered: HTTP cannot carry it"
        case Withdrawn():
            return "delivered again in two requests"
        case _:
            assert_never(outcome)


def advice(
    results: Sequence[StepResult],
    connections: int,
    timeout_s: float,
    *,
    is_batch: bool,
    diagnosis: str = "",
    more: Sequence[Advice] = (),
) -> list[Advice]:
    """Return all there is to say, problems first, and one cause once.

    Args:
        diagnosis: why the ordinary record was not accepted; empty: it was, or nobody looked.
        more: advice that was found otherwise.
    """
    found = _of_normal(results, diagnosis, is_batch=is_batch)
    cause = _cause(results[0])
    for one in results[1:]:
        if cause is None or _cause(one) != cause:
            found += _of_step(one, is_batch=is_batch)
    found = [*_once(found), *more, *_of_time(results, timeout_s)]
    if not diagnosis:
        found += _of_connections(results, connections)
    return sorted(found, key=lambda each: each.level == "hint")


def _of_normal(results: Sequence[StepResult], diagnosis: str, *, is_batch: bool) -> list[Advice]:
    """Say why the ordinary record was not accepted; what was answered the same to other records is part of it."""
    normal = results[0]
    found = list(_of_step(normal, is_batch=is_batch))
    if not found or not diagnosis:
        return found
    same = sum(_cause(one) == _cause(normal) for one in results[1:])
    others = f"; {same} other steps had the same answer" if same > 1 else ""
    return [Advice(level="problem", step=normal.step.name, text=diagnosis + others, answer_body=answer_body_of(normal))]


def _cause(result: StepResult) -> str | None:
    """Return what tells the causes of failures apart, a status or an outcome's code; None if all was accepted."""
    worst = _worst(result)
    if worst is None:
        return None
    refused = {answer.status for answer in result.answers if not 200 <= answer.status < 300}
    return " ".join(map(str, sorted(refused))) or code_of(worst)


def _once(found: Sequence[Advice]) -> Iterator[Advice]:
    """Yield each text once, with all steps that it is about."""
    steps: dict[tuple[str, str], list[Advice]] = {}
    for each in found:
        steps.setdefault((each.level, each.text), []).append(each)
    for same in steps.values():
        names, more = [each.step for each in same[:STEPS_NAMED_MAX]], len(same) - STEPS_NAMED_MAX
        yield replace(same[0], step=", ".join(names) + (f" and {more} more" if more > 0 else ""))


def _worst(result: StepResult) -> Outcome | None:
    return next((outcome for outcome in result.outcomes if not isinstance(outcome, Delivered)), None)


def answer_body_of(result: StepResult) -> str:
    """Return the body of the first answer that was no success, on one line, of HTML the text; empty if there is none."""
    body = next((answer.body for answer in result.answers if not 200 <= answer.status < 300), b"")
    return (reason_of(body) if body.lstrip().startswith(b"<") else "") or one_line(body.decode("utf-8", "replace"))


def _of_step(result: StepResult, *, is_batch: bool) -> Iterator[Advice]:
    name, outcomes, worst, body = result.step.name, result.outcomes, _worst(result), answer_body_of(result)
    if not is_batch and (error := _error_inside(result)):
        text = f"answered 2xx with an error inside ({error}): the record counts as accepted; answer 4xx or 5xx"
        yield Advice(level="problem", step=name, text=text)
    if not result.answers and worst is not None:
        yield Advice(level="problem", step=name, text=f"no answer: {getattr(worst, 'reason', '')}")
        return
    if any(isinstance(outcome, Retryable) and outcome.code == "batch_answer" for outcome in outcomes):
        yield Advice(
            level="problem", step=name, text=f"{_reason(worst)}: answer an empty body, or failures by id alone"
        )
        return
    if name in _GOOD:
        step = result.step.title if name == "own" else name
        yield from (replace(each, step=step, answer_body=body) for each in _of_good(name, worst))
    else:
        yield from (replace(each, answer_body=body) for each in _of_poison(result, worst))


_GOOD = {
    "normal": "the normal record was not accepted: give records that it should accept with --records",
    "own": "a record of the file was not accepted",
    "again": "a repetition was not accepted, and the proxy repeats after a crash: answer 2xx to what was done already",
    "concurrent": "it does not bear several at once: answer 429 or 503 if it is too much, or lower concurrency_max",
    "batch": "not all of a batch were accepted",
    "tombstone": "a record without value: answer 2xx if it means nothing, 422 if it is wrong",
    "binary-key": "a key that is no text: decode Mps-Key to bytes, not to text",
    "bare": "a record without key, time and headers, as any producer may send it",
    "large": "a large value: raise the limit of bodies, or bound what is produced; 413 dead-letters it",
}


def _of_good(name: str, worst: Outcome | None) -> Iterator[Advice]:
    """Yield advice on records that an application should accept, or reject for good."""
    may_refuse = name in {"tombstone", "large"}
    if worst is None or (may_refuse and isinstance(worst, Rejected)):
        return
    is_hint = isinstance(worst, Rejected) and name in {"bare", "binary-key"}
    yield Advice(level="hint" if is_hint else "problem", step=name, text=f"{_reason(worst)}: {_GOOD[name]}")


def _of_poison(result: StepResult, worst: Outcome | None) -> Iterator[Advice]:
    name, reason = result.step.name, _reason(worst)
    match worst:
        case None:
            text = "accepted what cannot be read: if it was not looked at, fine; if it was swallowed, answer 422"
            yield Advice(level="hint", step=name, text=text)
        case Rejected():
            return
        case Withdrawn():
            text = f"{reason}: name the record in failures instead, or the others come again until it is alone"
            yield Advice(level="hint", step=name, text=text)
        case Retryable():
            text = f"{reason}: tried {ATTEMPTS_MAX} times in vain while its key waits; answer 422"
            yield Advice(level="problem", step=name, text=text)
        case Unavailable():
            text = f"{reason}: looks like an outage, which pauses all deliveries; answer 422 to what is wrong for good"
            yield Advice(level="problem", step=name, text=text)
        case _:
            yield Advice(level="problem", step=name, text=reason)


def _of_connections(results: Sequence[StepResult], connections: int) -> Iterator[Advice]:
    answers = [answer for one in results for answer in one.answers]
    if len(answers) > 1 and sum(not answer.reusable for answer in answers) > len(answers) // 2:
        text = (
            "the server closes the connection with each answer, as gunicorn's sync workers do: it works, and each record costs"
            " a connection; HTTP/1.1 with keep-alive and Content-Length (gunicorn: --worker-class gthread) is faster"
        )
        yield Advice(level="hint", step="connections", text=text)
    elif connections > CONCURRENT + len(results) // 2:
        text = f"{connections} connections for {len(answers)} answers: connections do not stay open"
        yield Advice(level="hint", step="connections", text=text)


def _of_time(results: Sequence[StepResult], timeout_s: float) -> Iterator[Advice]:
    slowest = max(results, key=lambda one: one.took_s)
    if slowest.answers and slowest.took_s > SLOW_SHARE * timeout_s:
        text = f"took {slowest.took_s:.1f} s of the {timeout_s:g} s that it has: be faster, or raise timeout_s"
        yield Advice(level="problem", step=slowest.step.name, text=text)
    single_s = next((one.took_s for one in results if one.step.name == "normal"), 0.0)
    together = next((one for one in results if one.step.name == "concurrent"), None)
    if together is None or len(together.answers) < CONCURRENT or single_s < SERIAL_S_MIN:
        return
    if together.took_s > SERIAL_SHARE * CONCURRENT * single_s:
        text = f"{CONCURRENT} at once took {together.took_s:.2f} s, one {single_s:.2f} s: it works on one at a time"
        yield Advice(level="hint", step="concurrent", text=text)


def _error_inside(result: StepResult) -> str:
    """Return the part of a 2xx answer's body that reports an error; empty if none does."""
    for answer in result.answers:
        if 200 <= answer.status < 300 and not answer.verdict:
            try:
                body = json.loads(answer.body)
            except ValueError:
                continue
            if isinstance(body, dict) and (error := _error_of(body)):
                return error
    return ""


def _error_of(body: dict[str, object]) -> str:
    for name in ("error", "errors", "exception", "failures"):
        if body.get(name):
            return f'"{name}"'
    for name in ("success", "ok"):
        if body.get(name) is False:
            return f'"{name}": false'
    status = body.get("status")
    return f'"status": {json.dumps(status)}' if str(status).lower() in {"error", "failed", "failure"} else ""


def _reason(outcome: Outcome | None) -> str:
    return str(getattr(outcome, "reason", ""))


def summary(outcomes: Sequence[Outcome]) -> str:
    """Describe what the proxy would do with all records of a step."""
    counts = Counter(describe(outcome) for outcome in outcomes)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{count} {words}" for words, count in counts.items())
