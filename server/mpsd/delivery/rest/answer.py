"""The meaning of an answer for its delivery: pure, the one place for every row of the contract's table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, assert_never

from mpsd.config import RestDelivery
from mpsd.core.answer_reason import reason_of
from mpsd.core.outcome import DELIVERED, EXCERPT_BYTES_MAX, Outcome, Rejected, Retryable, Unavailable
from mpsd.core.retry_after import retry_after_s
from mpsd.core.status_table import Meaning, StatusTable
from mpsd.delivery.rest.client.answer_reader import Answer

REASON_CHARACTERS_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRules:
    """The settings for answers.

    Attributes:
        reads_body: the reason of a failure is taken from the body of an answer that has no `Mps-Reason`.
    """

    statuses: StatusTable
    retry_after_max_s: float
    reads_body: bool = True

    @classmethod
    def of(cls, delivery: RestDelivery) -> Self:
        return cls(
            statuses=StatusTable({status: Meaning(meaning) for status, meaning in delivery.status.items()}),
            retry_after_max_s=delivery.retry_after_max_s,
            reads_body=delivery.reason == "body",
        )


Judge = Callable[[Answer, AnswerRules, float], Outcome]
"""The function that decides what an answer means: `judge`, or one that looks on."""


def judge(answer: Answer, rules: AnswerRules, now_s: float) -> Outcome:
    """Return the outcome of an answer; an explicit verdict counts more than any status.

    Args:
        now_s: the wall clock, seconds since the epoch, for a `Retry-After` that is a date.
    """
    match answer.verdict:
        case b"retry":
            meaning, code = Meaning.RETRY, "verdict_retry"
        case b"dead-letter":
            meaning, code = Meaning.DEAD_LETTER, "verdict_dead_letter"
        case _:
            meaning, code = rules.statuses.meaning(answer.status), rules.statuses.code(answer.status)
    if meaning is Meaning.DELIVERED:
        return DELIVERED
    return _failure(
        answer,
        meaning,
        code,
        _reason(answer, rules),
        retry_after_s(answer.retry_after.decode("latin-1"), now_s, rules.retry_after_max_s),
    )


def _failure(answer: Answer, meaning: Meaning, code: str, reason: str, wait_s: float | None) -> Outcome:
    status, excerpt = answer.status, answer.body[:EXCERPT_BYTES_MAX]
    match meaning:
        case Meaning.DELIVERED:
            return DELIVERED
        case Meaning.DEAD_LETTER:
            return Rejected(code=code, reason=reason, status=status, excerpt=excerpt)
        case Meaning.RETRY:
            return Retryable(code=code, reason=reason, status=status, retry_after_s=wait_s, excerpt=excerpt)
        case Meaning.THROTTLE | Meaning.UNAVAILABLE:
            return Unavailable(
                code=code,
                reason=reason,
                status=status,
                retry_after_s=wait_s,
                excerpt=excerpt,
                throttled=meaning is Meaning.THROTTLE,
            )
        case _:
            assert_never(meaning)


def _reason(answer: Answer, rules: AnswerRules) -> str:
    given = printable(answer.reason.decode("utf-8", "replace"))
    if not given and rules.reads_body:
        given = reason_of(answer.body)
    return f"answered {answer.status}: {given}" if given else f"answered {answer.status}"


def printable(given: str) -> str:
    """Return the reason of an application, shortened and printable."""
    return "".join([character if character.isprintable() else "?" for character in given[:REASON_CHARACTERS_MAX]])
