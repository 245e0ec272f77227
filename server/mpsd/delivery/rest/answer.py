"""What an answer says about its delivery: pure, one place for every row of the contract's table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, assert_never

from mpsd.core.outcome import DELIVERED, EXCERPT_BYTES_MAX, Outcome, Rejected, Retryable, Unavailable
from mpsd.core.retry_after import retry_after_s
from mpsd.core.status_table import Meaning, StatusTable
from mpsd.delivery.rest.settings import RestSettings

REASON_CHARACTERS_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """As much of an HTTP answer as counts.

    Attributes:
        verdict: `Mps-Verdict`, in lower case; empty if absent.
        reason: `Mps-Reason`; empty if absent.
        retry_after: `Retry-After`; empty if absent.
        body: as much of it as is kept.
        reusable: the connection can carry another request.
    """

    status: int
    verdict: bytes
    reason: bytes
    retry_after: bytes
    body: bytes
    reusable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRules:
    """What an operator says about answers."""

    statuses: StatusTable
    retry_after_max_s: float

    @classmethod
    def of(cls, settings: RestSettings) -> Self:
        return cls(statuses=StatusTable(settings.status), retry_after_max_s=settings.retry_after_max_s)


Judge = Callable[["Answer", "AnswerRules", float], Outcome]
"""What decides what an answer means: `judge`, or one that looks on."""


def judge(answer: Answer, rules: AnswerRules, now_s: float) -> Outcome:
    """The outcome; an explicit verdict counts more than any status.

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
        answer, meaning, code, retry_after_s(answer.retry_after.decode("latin-1"), now_s, rules.retry_after_max_s)
    )


def _failure(answer: Answer, meaning: Meaning, code: str, wait_s: float | None) -> Outcome:
    reason, status, excerpt = _reason(answer), answer.status, answer.body[:EXCERPT_BYTES_MAX]
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


def _reason(answer: Answer) -> str:
    given = printable(answer.reason.decode("utf-8", "replace"))
    return f"answered {answer.status}: {given}" if given else f"answered {answer.status}"


def printable(given: str) -> str:
    """What an application gave as a reason, as far as it is kept."""
    return "".join([character if character.isprintable() else "?" for character in given[:REASON_CHARACTERS_MAX]])
