"""Batches: an adapter that puts several deliveries into a request, and how the application takes one.

It takes the first of each key when the request arrives, and those behind when it answers, all of them at that moment: so a
request that is lost has done nothing, and of a key one record is at work at a time.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from mpsd.core.batches import Batches
from mpsd.core.delivery import Assignment, Delivery, Lane
from mpsd.core.outcome import DELIVERED, Outcome, Rejected, Retryable, Unavailable, Withdrawn
from mpsd.ports import Demand
from tests.simulation.application import (
    ABORTED,
    BUSY,
    LOST,
    REFUSED,
    TIMED_OUT,
    Application,
    Exchange,
    Health,
    SimulatedAdapter,
)
from tests.simulation.machine import Process, outside

BYTES_MAX = 1 << 20
BEHIND = Withdrawn(reason="behind one of its key that failed")
NAMED: dict[type, Outcome] = {
    Retryable: Retryable(code="verdict_retry", reason="failed"),
    Rejected: Rejected(code="verdict_dead_letter", reason="no such customer"),
}


class Request:
    """One request and what it carries, in order."""

    def __init__(self, exchanges: Sequence[Exchange], timer: asyncio.TimerHandle) -> None:
        self.exchanges = exchanges
        self.timer = timer
        self.is_over = False


class BatchingAdapter(SimulatedAdapter):
    """Requests of up to `records_max`, cut in half where they fail as a whole."""

    def __init__(
        self, process: Process, application: Application, concurrency_max: int, timeout_s: float, records_max: int
    ) -> None:
        super().__init__(process, application, concurrency_max, timeout_s)
        self._records_max = records_max
        self._batches = Batches(records_max, BYTES_MAX, concurrency_max * records_max)
        self._requests: dict[Exchange, Request] = {}
        self._open = 0
        self._shared = 0

    @override
    def demand(self) -> Demand:
        return Demand(max(0, self._concurrency_max - self._open) * self._records_max, 1 << 40)

    @override
    def deliver(self, batch: Sequence[Delivery]) -> None:
        grouped = self._batches.group(batch)
        for deliveries in grouped.requests:
            for delivery in deliveries:
                self.on_sent(delivery)
            exchanges = [Exchange(self, delivery) for delivery in deliveries]
            timer = self._loop.call_later(self._timeout_s, self.timed_out, exchanges[0])
            request = Request(exchanges, timer)
            self._open += 1
            self.in_flight.update(dict.fromkeys(exchanges))
            self._requests.update(dict.fromkeys(exchanges, request))
            outside(self._loop, self._application.latency_s(), self._arrive, request)
        for delivery in grouped.left:
            self._loop.call_soon(self._settle, delivery, BEHIND)

    def _arrive(self, request: Request) -> None:
        application = self._application
        if request.is_over or any(exchange.is_over for exchange in request.exchanges):
            return
        for exchange in request.exchanges if application.health in {Health.DOWN, Health.BUSY} else ():
            application.refuse(exchange.delivery)
        if application.health is Health.DOWN:
            self._answer(request, [REFUSED], 0.0)
            return
        lanes = set[tuple[Assignment, Lane]]()
        for exchange in request.exchanges:
            if (lane := _lane(exchange)) not in lanes or exchange.delivery.lane is None:
                lanes.add(lane)
                application.take(exchange)
        if application.health is Health.BUSY:
            self._answer(request, [BUSY], 0.0)
            return
        tempers = [application.temper(exchange) for exchange in request.exchanges]
        outcomes: list[Outcome] = []
        stopped = set[tuple[Assignment, Lane]]()
        for exchange, temper in zip(request.exchanges, tempers, strict=True):
            if exchange.delivery.lane is not None and _lane(exchange) in stopped:
                outcomes.append(BEHIND)
                continue
            outcome = application.ill() or application.outcome(temper)
            if outcome is None:
                return
            if outcome is not DELIVERED and (application.stops_at_rejected or not isinstance(outcome, Rejected)):
                stopped.add(_lane(exchange))
            outcomes.append(outcome)
        failed: list[Outcome] = [
            outcome for outcome in outcomes if not isinstance(outcome, type(DELIVERED) | Withdrawn)
        ]
        names_them = all(type(outcome) in NAMED for outcome in failed) and application.names_failures()
        self._answer(request, outcomes if names_them or not failed else failed[:1], max(t.service_s for t in tempers))

    def _answer(self, request: Request, outcomes: list[Outcome], after_s: float) -> None:
        """One outcome for each, or one for all."""
        after_s = after_s * self._application.slow + self._application.latency_s()
        self.process.later(after_s, self._conclude, request, outcomes)

    @override
    def answered(self, exchange: Exchange, outcome: Outcome) -> None:
        if exchange in self._requests:
            self._conclude(self._requests[exchange], [outcome])

    def _conclude(self, request: Request, outcomes: list[Outcome]) -> None:
        if request.is_over:
            return
        request.is_over = True
        exchanges = request.exchanges
        if any(exchange.is_aborted for exchange in exchanges):
            outcomes = [ABORTED]
        elif any(exchange.is_broken for exchange in exchanges):
            outcomes = [LOST]
        self._open -= 1
        request.timer.cancel()
        is_whole = len(outcomes) < len(exchanges) or len(exchanges) == 1
        if is_whole and len(exchanges) > 1 and isinstance(outcomes[0], Retryable | Rejected):
            self._batches.cut([exchange.delivery for exchange in exchanges])
            self._settle_all(exchanges, [LOST] * len(exchanges), [Withdrawn(reason="one of many")] * len(exchanges))
        elif is_whole:
            told = outcomes[0]
            if isinstance(told, Unavailable) and len(exchanges) > 1:
                self._shared += 1
                told = replace(told, request=self._shared)
            settled = [
                BEHIND if exchange.delivery.is_behind and outcomes[0] is not ABORTED else told for exchange in exchanges
            ]
            self._settle_all(exchanges, [outcomes[0]] * len(exchanges), settled)
        else:
            self._settle_all(exchanges, outcomes, [NAMED.get(type(outcome), outcome) for outcome in outcomes])

    def _settle_all(self, exchanges: Sequence[Exchange], seen: Sequence[Outcome], settled: Sequence[Outcome]) -> None:
        """Settle all exchanges: the outcomes that the application saw, and those that the daemon gets."""
        if not any(isinstance(outcome, Withdrawn) for outcome in settled):
            self._batches.settled([exchange.delivery for exchange in exchanges])
        for exchange, outcome, told in zip(exchanges, seen, settled, strict=True):
            is_seen = (
                exchange.received or exchange.is_over
            )  # it may be over for the application before the daemon thaws
            if not is_seen and told is not BEHIND and outcome not in (LOST, ABORTED, REFUSED, TIMED_OUT):
                self._application.take(exchange)
            self._application.end(exchange, outcome)
            exchange.is_settled = True
            del self.in_flight[exchange], self._requests[exchange]
            self._tell(exchange.delivery, told)
        self._on_demand()
        for waiting in self._waiting:
            waiting.set()


def _lane(exchange: Exchange) -> tuple[Assignment, Lane]:
    return exchange.delivery.assignment, exchange.delivery.lane
