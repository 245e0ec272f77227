"""Hand ready lanes to the adapter, and turn outcomes into verdicts."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from mpsd.core.delivery import Assignment, Delivery, log_fields
from mpsd.core.histogram import Histogram
from mpsd.core.lanes import Event, move
from mpsd.core.outcome import Delivered, Moment, Outcome, Withdrawn, code_of
from mpsd.core.rate import TokenBucket
from mpsd.core.retry import Ack, DeadLetterRequest, Defer, Disposition, Retry, Verdict, describe
from mpsd.core.retry_policy import RetryPolicy, Suspect, Undecided
from mpsd.pipeline.failure import Failure
from mpsd.pipeline.order_iterator import OrderIterator, Turn
from mpsd.pipeline.pending_queue import PartitionQueue, PendingQueue
from mpsd.pipeline.waiting import PendingSkip, Waiting
from mpsd.ports import SYSTEM_CLOCK, Clock, DeliveryAdapter, RecordSource

log = logging.getLogger("mpsd.writer")

LEASE_POLL_S = 0.05
"""Interval between two looks at a lease that is over while something waits for it."""
TIMER_S_MIN = 0.001
"""Timers are no finer: what falls due a rounding error from now must not keep the loop from turning to others."""
LEASE_GUARD_S = 0.25
"""Interval between two looks at the lease before it is about to end."""
UNLIMITED = 1 << 62
EXPIRED = DeadLetterRequest(
    disposition=Disposition.EXPIRED, reason="older than retry.record_age_max_s before it was accepted"
)
BLOCKED = DeadLetterRequest(
    disposition=Disposition.BLOCKED, reason="an earlier record of its key is in the dead-letter topic"
)
BLOCKED_RUN_MAX = 500
"""Records of a blocked key that follow its dead letter at once: a write takes as many. One at a time is slower than they come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """The endpoint of a subscription: how it is reached, judged and paced."""

    adapter: DeliveryAdapter
    policy: RetryPolicy
    bucket: TokenBucket


class Writer:
    """A stage that keeps the adapter busy, and never sleeps on a retry.

    Takes: heads of lanes from the OrderIterator; outcomes from the adapter.
    Gives: deliveries to the adapter; finished records back to the PendingQueue; dead letters to `dead_letter`.
    Holds at most: `concurrency_max` deliveries in flight; of each lane its head, in back-off or among the suspects, and
        likewise those that were handed out with it.

    Attributes:
        concurrency_max: what an operator allows at once, below what is configured; may be set at any time.
        skips: records that an operator skips, until they are dead-lettered or accepted.
        last_failure: of a delivery; None: there was none. `last_dead_letter` likewise, of those that made a dead letter.
    """

    def __init__(
        self,
        subscription: str,
        pending: PendingQueue,
        order: OrderIterator,
        application: Application,
        source: RecordSource,
        dead_letter: Callable[[PartitionQueue, Delivery, DeadLetterRequest], None],
        clock: Clock = SYSTEM_CLOCK,
        on_endpoint: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin stopped; `start` opens.

        Args:
            dead_letter: takes a record over for the dead-letter topic.
            on_endpoint: called when the breaker has transitions to be reported; whoever reports them clears them.
        """
        self._subscription = subscription
        self._pending = pending
        self._order = order
        self._policy, self._adapter = application.policy, application.adapter
        self.bucket = application.bucket
        self._source = source
        self._dead_letter = dead_letter
        self._monotonic_s, self._wall_s = clock.monotonic_s, clock.wall_s
        self._jitter = clock.jitter
        self._on_endpoint = on_endpoint
        self._loop = asyncio.get_running_loop()
        self._is_pump_due = False
        self._is_open = False
        self._timer: asyncio.TimerHandle | None = None
        self.waiting = Waiting()
        self.skips: dict[Delivery, PendingSkip] = {}
        self._suspects = self.waiting.suspects
        self._probes = 0
        self.in_flight = 0
        self.concurrency_max = UNLIMITED
        self.outcomes: Counter[str] = Counter()
        self.last_failure: Failure | None = None
        self.last_dead_letter: Failure | None = None
        self.retries = 0
        self.withdrawn = 0
        self.stale = 0
        self.endpoint_latency, self.end_to_end_latency = Histogram(), Histogram()

    async def start(self) -> None:
        await self._adapter.start(self.wake, self.settle)
        self._is_open = True
        self.wake()

    def stop(self) -> None:
        """Start no delivery from now on; those in flight go on."""
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()

    def wake(self) -> None:
        """Look for deliveries soon. Cheap: wake-ups of one turn of the loop are one."""
        if not self._is_pump_due and self._is_open:
            self._is_pump_due = True
            self._loop.call_soon(self._pump)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Take the outcome of a delivery; called by the adapter, once for each."""
        self.in_flight -= 1
        queue = self._pending.queues.get(delivery.assignment)
        if self._suspects.out:
            self._suspects.ended(delivery, outcome)
        if queue is None:
            self.stale += 1
            self._policy.withdrawn(delivery)
            self.wake()
            return
        now_s = self._monotonic_s()
        queue.in_flight -= 1
        self.endpoint_latency.observe(now_s - delivery.started_s)
        if isinstance(outcome, Delivered):
            self.outcomes["delivered"] += 1
            self._policy.succeeded(delivery)
            if delivery.replay is None and (timestamp := delivery.record.timestamp) >= 0:
                self.end_to_end_latency.observe(max(0.0, self._wall_s() - timestamp / 1000))
            self._pending.finish(queue, delivery)
            if self.skips and (skip := self.skips.pop(delivery, None)) is not None:
                skip.accepted()
        else:
            self._failed(queue, delivery, outcome, now_s)
        self.wake()

    def partition_full(self, queue: PartitionQueue) -> None:
        """End the back-offs of failing lanes that fill the partition: the others must find room."""
        pending = self._pending
        crowding = self.waiting.take(
            lambda head: head.assignment is queue.assignment and pending.is_crowding(queue, head)
        )
        for delivery in crowding:
            self._ready_again(queue, delivery)
        if crowding:
            self.wake()

    def forget(self, assignment: Assignment) -> None:
        """Forget a partition that is no longer ours: nothing of it is delivered any more, stale outcomes are ignored."""
        self.waiting.forget(assignment)
        self._policy.forget(assignment.tp)

    async def guard_lease(self) -> None:
        """Abort what is in flight when the membership is not confirmed in time; until cancelled.

        A delivery ends with its lease, not a moment later: somebody else may start the next of its key then.
        """
        while True:
            left_s = self._source.lease_left_s()
            await asyncio.sleep(left_s if 0 < left_s < LEASE_GUARD_S else LEASE_GUARD_S)
            if self.in_flight and self._source.lease_left_s() <= 0:
                extra = {"code": "partition.lease_over", "subscription": self._subscription}
                log.warning(
                    "membership not confirmed in time: deliveries in flight are aborted and made again", extra=extra
                )
                await asyncio.gather(*(self._adapter.revoke(assignment, 0.0) for assignment in self._pending.queues))

    def _pump(self) -> None:
        """Hand over what may be delivered now, and see to it that somebody comes back when more may be."""
        self._is_pump_due = False
        if not self._is_open:
            return
        now_s = self._monotonic_s()
        self._judge_lost(now_s)
        if self._policy.breaker.transitions:
            self._endpoint_changed()
        self._end_back_offs(now_s)
        lease_left_s = self._source.lease_left_s()
        if lease_left_s > 0:
            turns = self._next(now_s)
            if turns:
                self._hand_over(turns, now_s)
        self._arm(now_s, lease_left_s)

    def _endpoint_changed(self) -> None:
        """Have it reported; attempts may have been given back, so each partition has something new to commit."""
        for queue in self._pending.queues.values():
            queue.charges += 1
        self._on_endpoint()

    def _next(self, now_s: float) -> list[Turn]:
        """Return the deliveries that may start now."""
        policy = self._policy
        records, size = self._adapter.demand()
        records = min(records, min(policy.throttle.limit, self.concurrency_max) - self.in_flight)
        if (tokens := self.bucket.available(now_s)) is not None:
            records = min(records, tokens)
        if policy.breaker.is_open:
            if records <= 0 or not policy.breaker.may_probe(now_s):
                return []
            return self._next_probe()
        if records <= 0:
            return []
        suspects = self._next_suspects(max(1, records // 2) if self._order else records, size) if self._suspects else []
        size -= sum(delivery.size_bytes for _, delivery in suspects)
        return suspects + self._order.take(records - len(suspects), size)

    def _next_probe(self) -> list[Turn]:
        """Take turns over the oldest lane and the newest, so that lanes which always fail never take all probes."""
        self._probes += 1
        turns = self._order.take(1, 1) if self._probes % 2 else self._order.take_newest()
        turns = turns or self._next_suspects(1, 1)
        for _, delivery in turns:
            self._policy.probe(delivery)
        return turns

    def _next_suspects(self, records_max: int, bytes_max: int) -> list[Turn]:
        """Return a group of suspects; those of stopped partitions and of paused keys keep their place."""
        queues = self._pending.queues

        def is_blocked(assignment: Assignment) -> bool:
            queue = queues.get(assignment)
            return queue is None or bool(queue.stopped_by)

        group = self._suspects.take(
            records_max, bytes_max, is_blocked, lambda each: each.record.key not in queues[each.assignment].paused_keys
        )
        return [(queues[each.assignment], each) for each in group]

    def _hand_over(self, turns: list[Turn], now_s: float) -> None:
        policy, batch = self._policy, []
        wall_ms = int(self._wall_s() * 1000)
        for queue, delivery in turns:
            is_blocked = queue.blocked and delivery.record.key in queue.blocked and not delivery.releases
            if is_blocked or policy.is_expired(delivery, wall_ms):
                self._suspects.ended(delivery, None)
                policy.withdrawn(delivery)
                self.dead_letter(queue, delivery, BLOCKED if is_blocked else EXPIRED)
                for each in behind_blocked(queue, delivery) if is_blocked else ():
                    self.dead_letter(queue, each, BLOCKED)
                self.wake()
                continue
            delivery.started_s = now_s
            queue.in_flight += 1
            batch.append(delivery)
        if batch:
            self.in_flight += len(batch)
            self.bucket.spend(len(batch))
            self._adapter.deliver(batch)

    def _failed(self, queue: PartitionQueue, delivery: Delivery, outcome: Outcome, now_s: float) -> None:
        crowds = self._pending.is_crowding(queue, delivery)
        moment = Moment(now_s, int(self._wall_s() * 1000), self._jitter(), self.in_flight, crowds)
        self.outcomes[code_of(outcome)] += 1
        verdict = self._policy.judge(delivery, outcome, moment)
        if not isinstance(verdict, Undecided):
            self._apply(queue, delivery, outcome, verdict, now_s)

    def _apply(
        self, queue: PartitionQueue, delivery: Delivery, outcome: Outcome, verdict: Verdict | Suspect, now_s: float
    ) -> None:
        match verdict:
            case Ack():
                self._pending.finish(queue, delivery)
            case Defer() | Retry() | Suspect() if delivery in self.skips:
                self.dead_letter(queue, delivery, self.skips[delivery].verdict)
            case Suspect():
                self.withdrawn += 1
                self._suspects.lost(delivery)
            case Defer(after_s=after_s) | Retry(after_s=after_s):
                queue.charges += isinstance(verdict, Retry)
                self.retries += isinstance(verdict, Retry)
                self.withdrawn += isinstance(verdict, Defer)
                if after_s > 0.0:
                    self.waiting.back_off(delivery, now_s + after_s)
                else:
                    self._ready_again(queue, delivery)
                if not isinstance(outcome, Withdrawn):
                    self._report(delivery, outcome, verdict)
            case DeadLetterRequest():
                self._report(delivery, outcome, verdict)
                self.dead_letter(queue, delivery, verdict)

    def dead_letter(
        self,
        queue: PartitionQueue,
        delivery: Delivery,
        verdict: DeadLetterRequest,
        event: Literal[Event.DEAD_LETTER, Event.SKIP] = Event.DEAD_LETTER,
    ) -> None:
        """Hand a record over for the dead-letter topic; its lane waits for the acknowledgement.

        The reason of a skip stands before any other cause for which the record dies.
        """
        move(delivery, event)
        queue.dead_letter_pending += 1
        self._policy.left(delivery)
        skip = self.skips.get(delivery) if self.skips else None
        self._dead_letter(queue, delivery, verdict if skip is None else skip.verdict)

    def _judge_lost(self, now_s: float) -> None:
        due_s = self._policy.lost_due_s
        if due_s is None or now_s < due_s:
            return
        for delivery, verdict in self._policy.judge_lost(Moment(now_s, int(self._wall_s() * 1000), self._jitter())):
            queue = self._pending.queues.get(delivery.assignment)
            if queue is not None and delivery.failures is not None and delivery.failures.last is not None:
                self._apply(queue, delivery, delivery.failures.last, verdict, now_s)

    def _end_back_offs(self, now_s: float) -> None:
        for delivery in reversed(
            self.waiting.take_due(now_s)
        ):  # each is put first: so the first due is the first to go
            queue = self._pending.queues.get(delivery.assignment)
            if queue is not None:
                self._ready_again(queue, delivery)

    def _ready_again(self, queue: PartitionQueue, delivery: Delivery) -> None:
        if delivery.failures is not None and delivery.failures.suspect:
            self._suspects.rested(delivery)
        else:
            self._pending.put_back(queue, delivery)

    def _arm(self, now_s: float, lease_left_s: float) -> None:
        """Set one timer for whatever is due first; an outcome and demand wake the Writer without one."""
        lost_due_s = self._policy.lost_due_s
        due_s = min(self.waiting.due_s, inf if lost_due_s is None else lost_due_s)
        if self._order or self._suspects:
            if (probe_due_s := self._policy.breaker.probe_due_s) is not None and probe_due_s > now_s:
                due_s = min(due_s, probe_due_s)
            if self.bucket.available(now_s) == 0:
                due_s = min(due_s, self.bucket.due_s(now_s))
            if lease_left_s <= 0:
                due_s = min(due_s, now_s + LEASE_POLL_S)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_s < inf:
            self._timer = self._loop.call_later(max(TIMER_S_MIN, due_s - now_s), self.wake)

    def _report(self, delivery: Delivery, outcome: Outcome, verdict: Verdict) -> None:
        """Write one line, limited per cause by the logger, and remember the failure."""
        record, is_dead = delivery.record, isinstance(verdict, DeadLetterRequest)
        self.last_failure = Failure(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            code=code_of(outcome),
            reason=str(getattr(outcome, "reason", "")),
            at_ms=int(self._wall_s() * 1000),
            dead_lettered=is_dead,
        )
        if is_dead:
            self.last_dead_letter = self.last_failure
        extra = {"code": f"delivery.{code_of(outcome)}", "subscription": self._subscription, **log_fields(delivery)}
        extra["attempt"] = max(1, delivery.attempt - 1)
        if (status := getattr(outcome, "status", None)) is not None:
            extra["status"] = status
        then = describe(verdict, delivery.attempt - 1)
        log.warning("%s: %s (%s)", delivery, getattr(outcome, "reason", ""), then, extra=extra)

    @property
    def suspects(self) -> int:
        """Return the number of suspects, waiting and out."""
        return len(self._suspects) + len(self._suspects.out)

    def statistics(self) -> dict[str, float]:
        return {
            "in_flight": self.in_flight,
            "backing_off": self.waiting.backing_off,
            "suspects": self.suspects,
            "stale_outcomes": self.stale,
        }


def behind_blocked(queue: PartitionQueue, head: Delivery) -> Sequence[Delivery]:
    """Return the records behind the head of a blocked key's lane that follow it: all but those that may release the key."""
    run = queue.lanes.take_run(head, BLOCKED_RUN_MAX)
    for delivery in run:
        if delivery.releases:
            queue.lanes.put_back(delivery)
    return [delivery for delivery in run if not delivery.releases]
