"""Records and deliveries as small as a story needs them."""

from collections.abc import Sequence
from dataclasses import dataclass

from mpsd.core.delivery import Assignment, Delivery, FailureHistory, Lane, Seat
from mpsd.core.lanes import Event, Lanes, move
from mpsd.core.outcome import Outcome, Rejected, Retryable, Unavailable, Undeliverable, Withdrawn
from mpsd.core.record import TopicPartition

PRODUCED_MS = 1_700_000_000_000
"""Time at which a record was produced, unless a test says otherwise."""

FAILED = Retryable(code="status_500", reason="failed", status=500)
LOST = Retryable(code="connection_lost", reason="no answer", lost=True)
REFUSED = Unavailable(code="refused", reason="nobody listens")
BUSY = Unavailable(code="status_503", reason="later", status=503, throttled=True)
POISON = Rejected(code="status_422", reason="no such customer", status=422)
TOO_WIDE = Undeliverable(code="headers_too_large", reason="headers over the bound")
TAKEN_BACK = Withdrawn(reason="its partition was revoked")
FAILURES: Sequence[Outcome] = (FAILED, LOST, REFUSED, BUSY, POISON, TOO_WIDE, TAKEN_BACK)


@dataclass(slots=True, kw_only=True, weakref_slot=True)
class Row:
    """A record of its own, without a client library."""

    topic: str = "orders"
    partition: int = 0
    offset: int = 0
    timestamp: int = PRODUCED_MS
    key: bytes | None = b"a"
    value: bytes | None = b"v"
    headers: Sequence[tuple[str, bytes | None]] = ()


def assigned(partition: int = 0, epoch: int = 1, topic: str = "orders") -> Assignment:
    return Assignment(TopicPartition(topic, partition), epoch)


HERE = assigned()


def delivery(
    offset: int = 0,
    lane: Lane = b"a",
    assignment: Assignment = HERE,
    *,
    attempts: int = 0,
    timestamp: int = PRODUCED_MS,
) -> Delivery:
    """One of a lane; by default of the same lane and partition as any other."""
    tp = assignment.tp
    key = lane if isinstance(lane, bytes) else None
    made = Delivery(
        Row(topic=tp.topic, partition=tp.partition, offset=offset, key=key, timestamp=timestamp), assignment, lane, 1
    )
    if attempts:
        made.failures = FailureHistory(attempts=attempts)
    return made


def in_flight(offset: int = 0, lane: Lane = b"a", assignment: Assignment = HERE, *, attempts: int = 0) -> Delivery:
    """Return a delivery that was handed out, without the lanes that gave it."""
    made = delivery(offset, lane, assignment, attempts=attempts)
    made.seat = Seat.IN_FLIGHT
    return made


def take(lanes: Lanes, wanted: Delivery) -> None:
    """Take the wanted one of the ready heads, whichever is next."""
    lanes.ready.remove(wanted)
    move(wanted, Event.TAKE)
