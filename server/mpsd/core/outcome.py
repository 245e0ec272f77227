"""Outcomes of a delivery: few meanings for the many dialects of applications.

Source: the delivery contract, "What the answer means".
"""

from dataclasses import dataclass
from typing import NamedTuple, assert_never

EXCERPT_BYTES_MAX = 1024
"""Bytes of an answer's body that are kept for the dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The application has accepted the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retryable:
    """This attempt failed and counts; a later one may succeed.

    Attributes:
        code: what went wrong in one word, such as `timeout` or `status_500`: a metric label, so of a bounded set.
        lost: the delivery ended without an answer (time-out, connection lost after the request was sent). Several lost
            together say nothing about one record: see `suspects`.
    """

    code: str
    reason: str
    status: int | None = None
    retry_after_s: float | None = None
    excerpt: bytes = b""
    lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The application will never accept this record: a poison pill."""

    code: str
    reason: str
    status: int | None = None
    excerpt: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undeliverable:
    """The protocol cannot carry the record at all; no request was made."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """The endpoint, not the record: it is down, misconfigured or asks for less.

    Attributes:
        throttled: the endpoint asks for less (429, 503) rather than being out of reach.
        request: number of the request, if several records shared it and so its one answer; 0 for a record alone. One event
            counts once, nobody is charged for it, and those that shared it wait equally long.
    """

    code: str
    reason: str
    status: int | None = None
    retry_after_s: float | None = None
    excerpt: bytes = b""
    throttled: bool = False
    request: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """The delivery was taken back or never left: it costs nothing and is made again."""

    reason: str


OUTCOMES = (
    "delivered",
    "withdrawn",
    "timeout",
    "connection_lost",
    "connect_timeout",
    "refused",
    "unreachable",
    "unresolved",
    "tls",
    "nonsense",
    "headers_too_large",
    "url_unfilled",
    "batch_answer",
    "verdict_retry",
    "verdict_dead_letter",
    "lease_expired",
    "stream_lost",
    "bad_frame",
)
"""Every code but those of HTTP statuses, which are `status_` and a number: what metrics count from the start."""

Outcome = Delivered | Retryable | Rejected | Undeliverable | Unavailable | Withdrawn


class Moment(NamedTuple):
    """The time at which an outcome came, on both clocks, and what else was so then.

    Attributes:
        now_s: the monotonic clock.
        wall_ms: the wall clock, milliseconds since the epoch.
        jitter: 0 up to 1, drawn by the caller.
        in_flight: other deliveries that had begun and not ended.
        is_crowding: the record and those behind it in its lane leave the others of their partition too little room.
    """

    now_s: float
    wall_ms: int
    jitter: float = 0.0
    in_flight: int = 0
    is_crowding: bool = False


def code_of(outcome: Outcome) -> str:
    """Return the outcome's code, one of a bounded set."""
    match outcome:
        case Delivered():
            return "delivered"
        case Withdrawn():
            return "withdrawn"
        case Retryable(code=code) | Rejected(code=code) | Unavailable(code=code) | Undeliverable(code=code):
            return code
        case _:
            assert_never(outcome)


DELIVERED = Delivered()
"""The one value that nearly every delivery comes to; made once."""
