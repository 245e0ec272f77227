"""The decision about a record after one delivery: a table of cases."""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from mpsd.core.outcome import Delivered, Outcome, Rejected, Retryable, Unavailable, Undeliverable, Withdrawn


class Disposition(StrEnum):
    """The reason for which a record is in the dead-letter topic."""

    ATTEMPTS_EXHAUSTED = "attempts-exhausted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNDELIVERABLE = "undeliverable"
    SKIPPED = "skipped"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """An operator's settings of retries.

    Attributes:
        attempts_max: deliveries that count before a record is dead-lettered, 1 or more.
        backoff_initial_s: ceiling of the first back-off; it doubles with each further failure.
        backoff_max_s: ceiling of all back-offs.
        record_age_max_s: records older than this are dead-lettered as expired; 0: never.
    """

    attempts_max: int
    backoff_initial_s: float
    backoff_max_s: float
    record_age_max_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The record is finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Deliver it again after the back-off; the failed delivery counts."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Defer:
    """Deliver it again after the back-off; the failed delivery does not count."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRequest:
    """To the dead-letter topic."""

    disposition: Disposition
    reason: str


Verdict = Ack | Retry | Defer | DeadLetterRequest

ACK = Ack()


def backoff_s(failures: int, rules: RetryRules, jitter: float) -> float:
    """Return the rest before the next delivery: half of the ceiling, and up to the whole of it by jitter.

    The fixed half gives the sum of all back-offs a floor: with the defaults a record is tried for at least a minute.

    Args:
        failures: in a row so far, 1 or more.
        jitter: 0 up to 1, drawn by the caller.

    Source: "equal jitter" of the AWS Architecture Blog, "Exponential Backoff and Jitter".
    """
    doublings = min(failures - 1, 60)
    ceiling_s = min(rules.backoff_max_s, rules.backoff_initial_s * 2**doublings)
    return float((1 + jitter) / 2 * ceiling_s)


def decide(outcome: Outcome, attempt: int, deferrals: int, rules: RetryRules, jitter: float) -> Verdict:
    """Decide about a record after one delivery.

    Args:
        attempt: deliveries so far that count, this one included, 1 or more.
        holds: deliveries in a row that were answered Unavailable and did not count, this one included.
        jitter: 0 up to 1, drawn by the caller.
    """
    match outcome:
        case Delivered():
            return ACK
        case Rejected(reason=reason):
            return DeadLetterRequest(disposition=Disposition.REJECTED, reason=reason)
        case Undeliverable(reason=reason):
            return DeadLetterRequest(disposition=Disposition.UNDELIVERABLE, reason=reason)
        case Unavailable(retry_after_s=retry_after_s):
            return Defer(after_s=max(backoff_s(max(deferrals, 1), rules, jitter), retry_after_s or 0.0))
        case Withdrawn():
            return Defer(after_s=0.0)
        case Retryable(reason=reason) if attempt >= rules.attempts_max:
            return DeadLetterRequest(disposition=Disposition.ATTEMPTS_EXHAUSTED, reason=reason)
        case Retryable(retry_after_s=retry_after_s):
            return Retry(after_s=max(backoff_s(attempt, rules, jitter), retry_after_s or 0.0))
        case _:
            assert_never(outcome)


def describe(verdict: Verdict, attempts: int) -> str:
    """Describe the verdict for people.

    Args:
        attempts: deliveries so far that count.
    """
    match verdict:
        case Ack():
            return "accepted"
        case Retry(after_s=after_s):
            return f"attempt {attempts} failed, the next in {after_s:.1f} s"
        case Defer(after_s=after_s):
            return f"not counted as an attempt, the next delivery in {after_s:.1f} s or once deliveries succeed"
        case DeadLetterRequest(disposition=disposition):
            return f"to the dead-letter topic as {disposition.value}"
        case _:
            assert_never(verdict)
