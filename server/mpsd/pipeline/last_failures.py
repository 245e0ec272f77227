"""The last failure of a subscription's deliveries, and the last that made a dead letter, for those who look at it."""

from dataclasses import dataclass

from typing_extensions import override

from mpsd.core.delivery import Delivery
from mpsd.core.outcome import Outcome, code_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A delivery that failed.

    Attributes:
        code: of the outcome, such as `status_422`.
        reason: in the application's own words, where it had some; never a key or a value.
        at_ms: milliseconds since the epoch.
        dead_lettered: the record went to the dead-letter topic for it.
    """

    topic: str
    partition: int
    offset: int
    code: str
    reason: str
    at_ms: int
    dead_lettered: bool

    @override
    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}: {self.reason}"


class LastFailures:
    """The newest of each kind.

    Attributes:
        latest: the last failure; None: there was none.
        dead_letter: the last that made a dead letter; None: there was none.
    """

    def __init__(self) -> None:
        self.latest: Failure | None = None
        self.dead_letter: Failure | None = None

    def note(self, delivery: Delivery, outcome: Outcome, at_ms: int, *, dead_lettered: bool) -> None:
        """Remember a failure."""
        record = delivery.record
        self.latest = Failure(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            code=code_of(outcome),
            reason=str(getattr(outcome, "reason", "")),
            at_ms=at_ms,
            dead_lettered=dead_lettered,
        )
        if dead_lettered:
            self.dead_letter = self.latest
