"""Meanings of HTTP statuses for a delivery.

Source: the delivery contract, "What the answer means".
"""

from collections.abc import Mapping
from enum import StrEnum


class Meaning(StrEnum):
    """A row of the contract's table; the words are those of `delivery.status` in the configuration."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD_LETTER = "dead-letter"
    THROTTLE = "throttle"
    UNAVAILABLE = "unavailable"


_ROWS: Mapping[Meaning, tuple[int, ...]] = {
    Meaning.DEAD_LETTER: (400, 406, 409, 411, 413, 414, 415, 416, 422, 431),
    Meaning.RETRY: (408, 425, 500, 501, 505),
    Meaning.THROTTLE: (429, 503),
    Meaning.UNAVAILABLE: (401, 402, 403, 404, 405, 407, 410, 421, 426, 502, 504),
}
_NAMED: Mapping[int, Meaning] = {status: meaning for meaning, row in _ROWS.items() for status in row}
_CLASSES: Mapping[int, Meaning] = {
    2: Meaning.DELIVERED,
    3: Meaning.UNAVAILABLE,
    4: Meaning.DEAD_LETTER,
}


class StatusTable:
    """The contract's table with the operator's changes.

    Args:
        overrides: meanings by status, 100 to 599.
    """

    def __init__(self, overrides: Mapping[int, Meaning]) -> None:
        self._meanings = {**_NAMED, **overrides}

    def meaning(self, status: int) -> Meaning:
        """Return the meaning of a final status; one that is not named, and no 2xx, 3xx or 4xx, is a server's failure: retry."""
        return self._meanings.get(status) or _CLASSES.get(status // 100, Meaning.RETRY)

    def code(self, status: int) -> str:
        """Return the metric label: `status_503` for named statuses, `status_4xx` for the rest of a class."""
        if status in self._meanings:
            return f"status_{status}"
        return f"status_{status // 100}xx"
