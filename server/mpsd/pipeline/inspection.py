"""List the lanes of partitions and the states of their heads, without keeping the loop from its work."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from mpsd.core.breaker import EndpointState
from mpsd.core.delivery import Delivery, Lane, Seat
from mpsd.core.outcome import code_of
from mpsd.core.pauses import Scope
from mpsd.core.states import LaneState
from mpsd.pipeline.control.controls import PAUSED
from mpsd.pipeline.pending_queue import PartitionQueue
from mpsd.pipeline.pipeline import Pipeline

RECORDS_PER_TURN_MAX = 2_000
"""Records looked at in one turn of the loop: about 1 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneView:
    """A lane, as an operator sees it.

    Attributes:
        head: its first unfinished record.
        records: unfinished ones in it, 1 or more.
        until_s: when its state ends, on the monotonic clock; None: nobody knows.
        last_outcome: of the head, for people; empty if it had none.
        blocks_commit: the head holds up the committed offset.
    """

    head: Delivery
    records: int
    state: LaneState
    until_s: float | None
    attempts: int
    last_outcome: str
    blocks_commit: bool


async def lanes_of(
    pipeline: Pipeline, scope: Scope, *, only_blocking: bool = False
) -> AsyncIterator[Sequence[LaneView]]:
    """Yield the lanes, a part of a partition at a time; each part is of one moment, and between parts deliveries go on.

    Args:
        only_blocking: those that hold up a committed offset.
    """
    for queue in list(pipeline.pending.queues.values()):
        if not scope.covers(queue.assignment.tp):
            continue
        heads = await _heads(queue, scope.key, only_blocking=only_blocking)
        for begin in range(0, len(heads), RECORDS_PER_TURN_MAX):
            yield _views(pipeline, queue, heads[begin : begin + RECORDS_PER_TURN_MAX])
            await asyncio.sleep(0)


async def _heads(queue: PartitionQueue, key: bytes | None, *, only_blocking: bool) -> list[tuple[Delivery, int]]:
    """Return the first unfinished record of each lane, which is its head, and how many the lane has."""
    oldest = queue.tracker.oldest()
    if oldest is None:
        return []
    unfinished = list(queue.tracker.unfinished.values())
    free: list[tuple[Delivery, int]] = []
    heads: dict[Lane, Delivery] = {}
    counts: Counter[Lane] = Counter()
    for begin in range(0, len(unfinished), RECORDS_PER_TURN_MAX):
        for delivery in islice(unfinished, begin, begin + RECORDS_PER_TURN_MAX):
            if key is not None and delivery.record.key != key:
                continue
            if delivery.lane is None:
                free.append((delivery, 1))
            else:
                heads.setdefault(delivery.lane, delivery)
                counts[delivery.lane] += 1
        await asyncio.sleep(0)
    found = free + [(head, counts[lane]) for lane, head in heads.items()]
    return [each for each in found if each[0] is oldest] if only_blocking else found


def _views(pipeline: Pipeline, queue: PartitionQueue, heads: Sequence[tuple[Delivery, int]]) -> list[LaneView]:
    unfinished, oldest = queue.tracker.unfinished, queue.tracker.oldest()
    return [
        _view(pipeline, queue, head, records, blocks_commit=head is oldest)
        for head, records in heads
        if unfinished.get(head.record.offset) is head
    ]


def _view(pipeline: Pipeline, queue: PartitionQueue, head: Delivery, records: int, *, blocks_commit: bool) -> LaneView:
    failures = head.failures
    state = _state(queue, head, endpoint=pipeline.policy.breaker.state)
    last = failures.last if failures is not None else None
    until_s = failures.due_s if failures is not None and state is LaneState.BACKING_OFF else None
    return LaneView(
        head=head,
        records=records,
        state=state,
        until_s=pipeline.policy.lost_due_s if state is LaneState.LOST else until_s,
        attempts=failures.attempts if failures is not None else 0,
        last_outcome=f"{code_of(last)}: {getattr(last, 'reason', '')}" if last is not None else "",
        blocks_commit=blocks_commit,
    )


STATES: Mapping[Seat, LaneState] = {
    Seat.WAITING: LaneState.WAITING,
    Seat.READY: LaneState.READY,
    Seat.PAUSED: LaneState.PAUSED,
    Seat.IN_FLIGHT: LaneState.IN_FLIGHT,
    Seat.LOST: LaneState.LOST,
    Seat.BACK_OFF: LaneState.BACKING_OFF,
    Seat.SUSPECT: LaneState.SUSPECT,
    Seat.DEAD_LETTERING: LaneState.DEAD_LETTERING,
    Seat.KEYS_FULL: LaneState.BLOCKED_KEYS_FULL,
}


def _state(queue: PartitionQueue, head: Delivery, *, endpoint: EndpointState) -> LaneState:
    """Return the state of a head: its seat, unless its key, its partition or the endpoint keeps it from being delivered."""
    seat, key = head.seat, head.record.key
    if key in queue.blocked and seat is not Seat.IN_FLIGHT:
        return LaneState.BLOCKED
    if seat in {Seat.READY, Seat.BACK_OFF} and (PAUSED in queue.causes or key in queue.paused_keys):
        return LaneState.PAUSED
    if seat is Seat.READY and endpoint is not EndpointState.UP:
        return LaneState.ALL_REJECTED if endpoint is EndpointState.ALL_REJECTED else LaneState.ENDPOINT_OUT
    return STATES[seat]
