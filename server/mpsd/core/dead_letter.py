"""Headers that a dead letter has beside those of the record it carries.

Source: the delivery contract, "Dead letters"; the `__dlq.errors.*` names are those of Kafka's share groups (KIP-1191).
"""

from dataclasses import dataclass

from mpsd.core.delivery import Delivery, ReplayedDelivery
from mpsd.core.idempotency import record_id
from mpsd.core.outcome import Rejected, Retryable, Unavailable
from mpsd.core.retry import DeadLetterRequest, Disposition

REASON_CHARACTERS_MAX = 1000
"""A reason is for reading; an application's own is cut here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """The writer of dead letters, one for each subscription."""

    subscription: str
    group: str
    endpoint: str


def headers(delivery: Delivery, dead_letter: DeadLetterRequest, sender: Sender) -> list[tuple[str, bytes]]:
    """Return the added headers in the contract's order, without those that would be empty, such as `status` and times."""
    record, failures = delivery.record, delivery.failures
    last = failures.last if failures is not None else None
    reason = dead_letter.reason[:REASON_CHARACTERS_MAX]
    answered = last if isinstance(last, Retryable | Rejected | Unavailable) else None
    values: list[tuple[str, str | int | None]] = [
        ("__dlq.errors.topic", record.topic),
        ("__dlq.errors.partition", record.partition),
        ("__dlq.errors.offset", record.offset),
        ("__dlq.errors.group", sender.group),
        ("__dlq.errors.delivery.count", failures.attempts if failures is not None else 0),
        ("__dlq.errors.message", reason),
        ("mps-dlq-subscription", sender.subscription),
        ("mps-dlq-disposition", dead_letter.disposition.value),
        ("mps-dlq-status", answered.status if answered is not None else None),
        ("mps-dlq-reason", reason),
        ("mps-dlq-timestamp", record.timestamp),
        ("mps-dlq-record-id", record_id(delivery).decode("ascii")),
        ("mps-dlq-first-failed-at", failures.first_failed_at_ms or None if failures is not None else None),
        ("mps-dlq-last-failed-at", failures.last_failed_at_ms or None if failures is not None else None),
        ("mps-dlq-endpoint", sender.endpoint),
        ("mps-dlq-replays", replays_of(delivery) - _is_held_back(delivery, dead_letter)),
    ]
    added = [(name, str(value).encode()) for name, value in values if value is not None]
    if answered is not None and answered.excerpt:
        added.append(("mps-dlq-excerpt", answered.excerpt))
    return added


REPLAYS_HEADER = "mps-replays"
REPLAY_HEADER = "mps-replay"
"""Headers of a record that a replay wrote to its source topic: how often it was brought back, and by which replay."""
REPLAYS_DIGITS_MAX = 9


def _is_held_back(delivery: Delivery, dead_letter: DeadLetterRequest) -> bool:
    """Return True if a replay sent the record but it was not delivered, which does not count as a replay."""
    return dead_letter.disposition is Disposition.BLOCKED and isinstance(delivery, ReplayedDelivery)


def replays_of(delivery: Delivery) -> int:
    """Return how often the record was replayed, this time included."""
    if isinstance(delivery, ReplayedDelivery):
        return delivery.replays + 1
    said = [value or b"" for name, value in delivery.record.headers if name == REPLAYS_HEADER]
    return int(said[-1]) if said and said[-1].isdigit() and len(said[-1]) <= REPLAYS_DIGITS_MAX else 0
