"""The one log line about a `Retry-After` that nobody can read."""

import logging

from mpsd.core.retry_after import CHARACTERS_MAX, UNREADABLE_S, is_readable
from mpsd.delivery.rest.answer import Answer, printable

log = logging.getLogger("mpsd.delivery")


class StrangeRetryAfter:
    """Says once, of one endpoint, that its `Retry-After` cannot be read."""

    def __init__(self, subscription: str) -> None:
        self._subscription = subscription
        self._was_said = False

    def look(self, answer: Answer, now_s: float) -> None:
        """Log a `Retry-After` that cannot be read, if none was logged before.

        Args:
            now_s: the wall clock, seconds since the epoch.
        """
        text = answer.retry_after.decode("latin-1")
        if self._was_said or is_readable(text, now_s):
            return
        self._was_said = True
        log.warning(
            'cannot read Retry-After of an answer %d: "%s" is neither seconds nor a date; waiting %g s or longer each time',
            answer.status,
            printable(text[:CHARACTERS_MAX]),
            UNREADABLE_S,
            extra={"code": "delivery.retry_after_unreadable", "subscription": self._subscription},
        )
