"""The delivery port over HTTP/1.1, several records in each request (the delivery contract, part B)."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from typing_extensions import override

from mpsd.config import RestDelivery
from mpsd.core.batches import Batches
from mpsd.core.delivery import Assignment, Delivery, Lane
from mpsd.core.outcome import (
    DELIVERED,
    EXCERPT_BYTES_MAX,
    Delivered,
    Outcome,
    Rejected,
    Retryable,
    Unavailable,
    Withdrawn,
)
from mpsd.core.record import RECORD_OVERHEAD_BYTES
from mpsd.delivery.rest.batch_answer import FAILURE_BYTES_MAX, Unbelievable, failures
from mpsd.delivery.rest.client.answer_reader import Answer
from mpsd.delivery.rest.client.connection import Connection
from mpsd.delivery.rest.client.pool import Requests
from mpsd.delivery.rest.events import Batch, BatchRequests
from mpsd.delivery.rest.poster import NOT_SENT, Poster, Surroundings
from mpsd.ports import AdapterStatistics, Demand

log = logging.getLogger("mpsd.delivery")

BEHIND_A_FAILURE = Withdrawn(reason="behind one of its key that failed")
BEHIND_ANOTHER_REQUEST = Withdrawn(reason="behind one of its key that is in another request")


class BatchAdapter(Poster[Batch, Answer]):
    """A poster of deliveries in as few requests as the bounds allow, without waiting for more.

    Takes: deliveries, as many as fit into the requests that may be started.
    Gives: one outcome for each.
    Holds at most: `concurrency_max` requests in flight; where large records or runs make requests smaller, those that were
        handed over with them wait for a connection.

    Args:
        dead_letter_stops_key: a dead-lettered record withdraws the later ones of its key.

    Raises:
        ConfigError: the URL, a webhook secret, or a file of the TLS settings cannot be used.
    """

    def __init__(
        self,
        subscription: str,
        delivery: RestDelivery,
        around: Surroundings = Surroundings(),  # noqa: B008 - it cannot be changed
        *,
        dead_letter_stops_key: bool = False,
    ) -> None:
        super().__init__(subscription, delivery, BatchRequests, around)
        batch = delivery.batch
        self._records_max = batch.records_max
        self._request_bytes = batch.bytes_max + batch.records_max * RECORD_OVERHEAD_BYTES
        self._dead_letter_stops_key = dead_letter_stops_key
        self._batches = Batches(batch.records_max, batch.bytes_max, delivery.concurrency_max * batch.records_max)
        self._free = delivery.concurrency_max
        self._left: list[Delivery] = []
        self._cut = 0
        self._shared = 0
        self._unbelievable = 0

    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        """See `DeliveryAdapter`; connections are opened when deliveries need them."""
        self._on_demand = on_demand
        self._settle = settle
        self._loop = asyncio.get_running_loop()
        self._send = self._start(
            Requests(
                head=self.writer.head,
                body=Batch.take_body,
                concerns=Batch.concerns,
                judge=self._judge,
                ended=self._ended,
                withdrawn=self._take_back,
            ),
            answer_bytes=self._records_max * FAILURE_BYTES_MAX,
        )

    def demand(self) -> Demand:
        free = 0 if self._is_closed else max(0, self._free)
        return Demand(free * self._records_max, free * self._request_bytes)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """See `DeliveryAdapter`."""
        assert not self._is_closed
        assert len(batch) <= self._free * self._records_max
        grouped = self._batches.group(batch)
        self._free -= len(grouped.requests)
        self._send([Batch(deliveries) for deliveries in grouped.requests])
        if grouped.left:
            if not self._left:
                self._loop.call_soon(self._settle_left)
            self._left += grouped.left

    @override
    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        """See `DeliveryAdapter`. At the deadline whole requests are aborted, so that others of the request are withdrawn too."""
        self._settle_left()
        await super().revoke(assignment, deadline_s)
        self._batches.forget(assignment)

    @override
    async def close(self, deadline_s: float) -> None:
        """See `DeliveryAdapter`."""
        self._is_closed = True
        self._settle_left()
        await super().close(deadline_s)

    def statistics(self) -> AdapterStatistics:
        return self._statistics(
            free=self._free,
            batches_cut=self._cut,
            answers_unbelievable=self._unbelievable,
            suspects=len(self._batches),
        )

    def _judge(self, answer: Answer, connection: Connection[Batch, Answer]) -> Outcome | Answer:
        """Return an answer that names records as it is, because `_conclude` needs the records of its request."""
        outcome = self.judge(answer, connection)
        return answer if isinstance(outcome, Delivered) and answer.body.strip() else outcome

    def _ended(self, batch: Batch, result: Outcome | Answer) -> None:
        """Settle the deliveries of a request that ended; the only place that does."""
        self._free += 1
        had_none = self._free == 1
        self._conclude(batch.deliveries, result)
        if had_none and self._free > 0:
            self._on_demand()

    def _conclude(self, deliveries: Sequence[Delivery], result: Outcome | Answer) -> None:
        if isinstance(result, Answer):
            try:
                named = self._named(deliveries, result)
            except Unbelievable as error:
                self._unbelievable += 1
                reason = f"answered {result.status} with {error}"
                result = Retryable(
                    code="batch_answer", reason=reason, status=result.status, excerpt=result.body[:EXCERPT_BYTES_MAX]
                )
            else:
                self._settle_each(deliveries, named)
                return
        if isinstance(result, Retryable | Rejected) and len(deliveries) > 1:
            self._cut_in_half(deliveries, result)
        elif isinstance(result, Delivered):
            self._batches.settled(deliveries)
            for delivery in deliveries:
                self._settle(delivery, DELIVERED)
        else:
            if isinstance(result, Unavailable) and len(deliveries) > 1:
                self._shared += 1
                result = replace(result, request=self._shared)
            self._settle_each(deliveries, dict.fromkeys(deliveries, result))

    def _named(self, deliveries: Sequence[Delivery], answer: Answer) -> Mapping[Delivery, Outcome]:
        by_id: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_id.setdefault(self.writer.keys.of(delivery).decode(), []).append(delivery)
        found = failures(answer, by_id, self.rules)
        return {delivery: outcome for event_id, outcome in found.items() for delivery in by_id[event_id]}

    def _settle_each(self, deliveries: Sequence[Delivery], failed: Mapping[Delivery, Outcome]) -> None:
        """Settle each; of one lane only a prefix can succeed, because the records behind a failure are withdrawn."""
        self._batches.settled(deliveries)
        stopped: set[tuple[Assignment, Lane]] = set()
        for delivery in deliveries:
            lane = (delivery.assignment, delivery.lane)
            outcome = failed.get(delivery, DELIVERED)
            if delivery.lane is not None and lane in stopped:
                outcome = BEHIND_A_FAILURE
            elif outcome is not DELIVERED and (self._dead_letter_stops_key or not isinstance(outcome, Rejected)):
                stopped.add(lane)
            self._settle(delivery, outcome)

    def _cut_in_half(self, deliveries: Sequence[Delivery], outcome: Retryable | Rejected) -> None:
        """Deliver the two halves apart and count no attempt, because one record failed and it is not known which."""
        self._cut += 1
        self._batches.cut(deliveries)
        message = "%s and %d more in one request failed: %s; delivering each half in a request of its own"
        extra = {"code": "delivery.batch_cut", "subscription": self._subscription}
        log.warning(message, deliveries[0], len(deliveries) - 1, outcome.reason, extra=extra)
        withdrawn = Withdrawn(reason=f"with {len(deliveries) - 1} others in a request that failed: {outcome.reason}")
        for delivery in deliveries:
            self._settle(delivery, withdrawn)

    def _take_back(self, batch: Batch, assignment: Assignment | None) -> None:
        """Withdraw the records of a partition that leaves from a request not sent yet; the others of the request go on."""
        others = [each for each in batch.deliveries if assignment is not None and each.assignment is not assignment]
        self._free += not others
        kept = set(others)
        for delivery in batch.deliveries:
            if delivery not in kept:
                self._settle(delivery, NOT_SENT)
        if others:
            self._send([Batch(others)])

    def _settle_left(self) -> None:
        left, self._left = self._left, []
        for delivery in left:
            self._settle(delivery, BEHIND_ANOTHER_REQUEST)
