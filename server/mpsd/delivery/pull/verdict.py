"""What becomes of a delivery, in the words of the pipeline."""

from mpsd.core.outcome import DELIVERED, EXCERPT_BYTES_MAX, Outcome, Rejected, Retryable, Withdrawn
from mpsd.delivery.pull.leases import Held
from mpsd.delivery.pull.messages import Settlement

REASON_CHARACTERS_KEPT = 256


def lost(held: Held) -> Outcome:
    """What a delivery comes to whose lease ended."""
    if not held.lease.answered:
        return Withdrawn(reason="its lease ended before it was sent")
    reason = f"held for {held.lease.length_s:g} s or longer and neither settled nor extended"
    return Retryable(code="lease_expired", reason=reason, lost=True)


def outcome_of(settlement: Settlement) -> Outcome:
    """What the caller said."""
    if settlement.verdict == "ack":
        return DELIVERED
    given = settlement.reason
    said = "".join([character if character.isprintable() else "?" for character in given[:REASON_CHARACTERS_KEPT]])
    excerpt = given.encode("utf-8", "replace")[:EXCERPT_BYTES_MAX] if len(given) > REASON_CHARACTERS_KEPT else b""
    if settlement.verdict == "dead-letter":
        return Rejected(code="verdict_dead_letter", reason=said or "settled as dead-letter", excerpt=excerpt)
    return Retryable(
        code="verdict_retry",
        reason=said or "settled as retry",
        retry_after_s=settlement.delay_s or None,
        excerpt=excerpt,
    )
