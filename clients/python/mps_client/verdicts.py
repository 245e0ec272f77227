"""Verdicts on records that a handler did not process. They are exceptions, so that code at any depth can raise them."""

REASON_BYTES_MAX = 1_024
"""Length in bytes to which the daemon cuts a reason."""
DELAY_S_MAX = 86_400.0
"""Longest delay of the contract: a day."""


class Retry(Exception):  # noqa: N818 - an answer, not an error
    """The verdict to deliver the record again, which counts as a failed attempt. Any other exception means the same.

    Args:
        reason: the reason, for operators and for the dead letter after the last attempt.
        after_s: the least time until the next delivery, 0 to 86,400 s; 0: as the daemon's retry policy says.
    """

    def __init__(self, reason: str = "", *, after_s: float = 0.0) -> None:
        super().__init__(reason)
        if not 0.0 <= after_s <= DELAY_S_MAX:
            raise ValueError(f"after_s is {after_s}, and must be from 0 to {DELAY_S_MAX:g}")
        self.reason = reason
        self.after_s = after_s


class DeadLetter(Exception):  # noqa: N818 - an answer, not an error
    """The verdict to move the record to the dead-letter topic at once.

    Args:
        reason: the reason, for operators and for the dead letter.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


Verdict = Retry | DeadLetter
"""The verdict on a record that was not processed."""


def verdict_of(error: Exception) -> Verdict:
    """Return the verdict of a handler's exception: itself, or a retry with its type and text as the reason."""
    if isinstance(error, (Retry, DeadLetter)):
        return error
    text = str(error)
    return Retry(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def clipped(reason: str) -> str:
    """Return the reason, cut between characters to the length that the daemon keeps."""
    if len(reason) * 4 <= REASON_BYTES_MAX:
        return reason
    return reason.encode(errors="replace")[:REASON_BYTES_MAX].decode(errors="ignore")
