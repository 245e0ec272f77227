"""A failure of a delivery, for those who look at the last one of a subscription."""

from dataclasses import dataclass

from typing_extensions import override


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A delivery that failed.

    Attributes:
        code: of the outcome, such as `status_422`.
        reason: in the application's own words, where it had some; never a key or a value.
        at_ms: milliseconds since the epoch.
        dead_lettered: the record goes to the dead-letter topic for it; the write may still be under way.
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
