"""The application, and the adapter that reaches it: latencies, refusals, poison, answers that never come, and crashes.

What becomes of a record is drawn when it is produced (`Temper`), so that it does not depend on who delivers it when. A
delivery is an `Exchange`; the guarantees hear of its beginning when the application receives it, and of its end when the
daemon has the answer, gave up, or is gone.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import DELIVERED, Outcome, Rejected, Retryable, Unavailable, Withdrawn
from mpsd.demo.guarantees import RecordPosition
from mpsd.ports import AdapterStatistics, Demand, Peer
from tests.simulation.machine import Process, outside

TIMED_OUT = Retryable(code="timeout", reason="no answer in time", lost=True)
LOST = Retryable(code="connection_lost", reason="the connection was lost", lost=True)
ABORTED = Withdrawn(reason="its connection was aborted")
FAILED = Retryable(code="status_500", reason="failed", status=500)
POISON = Rejected(code="status_422", reason="no such customer", status=422)
BROKEN = Unavailable(code="status_502", reason="this record breaks the worker", status=502)
REFUSED = Unavailable(code="refused", reason="nobody listens")
BUSY = Unavailable(code="status_503", reason="later", status=503, throttled=True)


class Manner(StrEnum):
    """The way in which the application takes a record."""

    ACCEPTS = "accepts"
    FAILS_FIRST = "fails first"
    FAILS = "fails always"
    REJECTS = "rejects"
    HANGS_FIRST = "hangs first"
    BREAKS = "answers 502 always"


@dataclass(slots=True)
class Temper:
    """The application's treatment of one record.

    Attributes:
        failures: how many deliveries fail, or hang, before one is accepted.
    """

    manner: Manner
    service_s: float
    failures: int = 0


class Health(StrEnum):
    """The health of the application."""

    WELL = "well"
    DOWN = "down"
    BUSY = "busy"
    FAILING = "failing"
    REJECTING = "rejecting"
    BROWN = "in a brown-out"


class Exchange:
    """One delivery between an adapter and the application; `is_over` for the guarantees, `is_settled` for the daemon."""

    __slots__ = (
        "adapter",
        "attempt",
        "delivery",
        "is_aborted",
        "is_broken",
        "is_over",
        "is_settled",
        "received",
        "timer",
    )

    def __init__(self, adapter: "SimulatedAdapter", delivery: Delivery) -> None:
        self.adapter = adapter
        self.delivery = delivery
        self.attempt = delivery.attempt
        self.received = False
        self.is_aborted = False
        self.is_broken = False
        self.is_over = False
        self.is_settled = False
        self.timer: asyncio.TimerHandle | None = None


class Application:
    """One endpoint, the same for all daemons.

    Args:
        on_started, on_ended: told of deliveries that the application received.

    Attributes:
        stops_at_rejected: of a run of one key it takes nothing behind a record that it rejects, as where keys are held.
    """

    def __init__(
        self,
        dice: random.Random,
        tempers: Mapping[RecordPosition, Temper],
        on_started: Callable[[Exchange], None],
        on_ended: Callable[[Exchange, Outcome], None],
    ) -> None:
        self._dice = dice
        self._tempers = tempers
        self._on_started = on_started
        self._on_ended = on_ended
        self.health = Health.WELL
        self.stops_at_rejected = False
        self.outages = 0
        self.on_refused_again: Callable[[Delivery], None] = lambda _delivery: None
        self._refused: dict[RecordPosition, int] = {}
        self.slow = 1.0
        self.in_flight: dict[Exchange, None] = {}

    def latency_s(self) -> float:
        return (0.0002 + self._dice.random() * 0.002) * self.slow

    def abort_s(self) -> float:
        """From an abort to its outcome; mostly at once, but nothing says how soon."""
        return self.latency_s() if self._dice.random() < 0.8 else self._dice.random()

    def receive(self, exchange: Exchange) -> None:
        if exchange.is_over:
            return
        if self.health in {Health.DOWN, Health.BUSY}:
            self.refuse(exchange.delivery)
        if self.health is Health.DOWN:
            self._answer(exchange, REFUSED, 0.0)
            return
        self.take(exchange)
        if self.health is Health.BUSY:
            self._answer(exchange, BUSY, 0.0)
            return
        temper = self.temper(exchange)
        outcome = self.ill() or self.outcome(temper)
        if outcome is not None:
            self._answer(exchange, outcome, temper.service_s * self.slow)

    def refuse(self, delivery: Delivery) -> None:
        """Told once an outage: refused before, others accepted since, refused again looks like the record's own fault."""
        place = RecordPosition.of(delivery.record)
        if self._refused.get(place, self.outages) != self.outages:
            self.on_refused_again(delivery)
        self._refused[place] = self.outages

    def take(self, exchange: Exchange) -> None:
        """Begin to work on a request."""
        exchange.received = True
        self.in_flight[exchange] = None
        self._on_started(exchange)

    def temper(self, exchange: Exchange) -> Temper:
        return self._tempers[RecordPosition.of(exchange.delivery.record)]

    def names_failures(self) -> bool:
        """Return True if the application names the failed records of a batch this time, or False if it fails all of it."""
        return self._dice.random() < 0.7

    def ill(self) -> Outcome | None:
        """Return what it answers to any record while it is ill in this way; None: it looks at the record."""
        match self.health:
            case Health.FAILING:
                return FAILED
            case Health.REJECTING:
                return POISON
            case Health.BROWN if self._dice.random() < 0.5:
                return FAILED
            case _:
                return None

    @staticmethod
    def outcome(temper: Temper) -> Outcome | None:
        """Return the coming answer; None if there will be none."""
        match temper.manner:
            case Manner.FAILS:
                return FAILED
            case Manner.REJECTS:
                return POISON
            case Manner.BREAKS:
                return BROKEN
            case Manner.FAILS_FIRST | Manner.HANGS_FIRST if temper.failures > 0:
                temper.failures -= 1
                return FAILED if temper.manner is Manner.FAILS_FIRST else None
            case _:
                return DELIVERED

    def _answer(self, exchange: Exchange, outcome: Outcome, after_s: float) -> None:
        exchange.adapter.process.later(after_s + self.latency_s(), exchange.adapter.answered, exchange, outcome)

    def end(self, exchange: Exchange, outcome: Outcome) -> None:
        """End a delivery for everybody but the daemon, which may not know yet."""
        if not exchange.is_over:
            exchange.is_over = True
            if exchange.received:
                self.in_flight.pop(exchange, None)
                self._on_ended(exchange, outcome)

    def lose(self, exchanges: Iterable[Exchange]) -> None:
        """Their connections break; each daemon learns of its own."""
        for exchange in exchanges:
            exchange.is_broken = True
            self.end(exchange, LOST)
            exchange.adapter.process.later(self.latency_s(), exchange.adapter.broken, exchange)


class Before(NamedTuple):
    """State from before a daemon got an outcome.

    Attributes:
        attempts: of the record.
        is_braked: the daemon dead-letters no rejections.
    """

    attempts: int
    is_braked: bool


class SimulatedAdapter:
    """`DeliveryAdapter` of one daemon."""

    def __init__(self, process: Process, application: Application, concurrency_max: int, timeout_s: float) -> None:
        self.process = process
        self._application = application
        self._concurrency_max = concurrency_max
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._on_demand: Callable[[], None] = lambda: None
        self._settle: Callable[[Delivery, Outcome], None] = lambda _delivery, _outcome: None
        self.in_flight: dict[Exchange, None] = {}
        self._waiting: list[asyncio.Event] = []
        self.on_abort: Callable[[Assignment], None] = lambda _assignment: None
        self.on_sent: Callable[[Delivery], None] = lambda _delivery: None
        self.on_settling: Callable[[Delivery], Before] = lambda _delivery: Before(0, False)
        self.on_settled: Callable[[Delivery, Outcome, Before], None] = lambda _delivery, _outcome, _before: None

    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        self._on_demand = on_demand
        self._settle = settle

    def demand(self) -> Demand:
        return Demand(self._concurrency_max - len(self.in_flight), 1 << 40)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            self.on_sent(delivery)
            exchange = Exchange(self, delivery)
            self.in_flight[exchange] = None
            outside(self._loop, self._application.latency_s(), self._application.receive, exchange)
            exchange.timer = self._loop.call_later(self._timeout_s, self.timed_out, exchange)

    def answered(self, exchange: Exchange, outcome: Outcome) -> None:
        if not exchange.is_settled:
            outcome = ABORTED if exchange.is_aborted else LOST if exchange.is_broken else outcome
            self._application.end(exchange, outcome)
            self._finish(exchange, outcome)

    def timed_out(self, exchange: Exchange) -> None:
        self.answered(exchange, TIMED_OUT)

    def broken(self, exchange: Exchange) -> None:
        self.answered(exchange, LOST)

    def _finish(self, exchange: Exchange, outcome: Outcome) -> None:
        was_full = len(self.in_flight) >= self._concurrency_max
        exchange.is_settled = True
        if exchange.timer is not None:
            exchange.timer.cancel()
        del self.in_flight[exchange]
        self._tell(exchange.delivery, outcome)
        if was_full:
            self._on_demand()
        for waiting in self._waiting:
            waiting.set()

    def _tell(self, delivery: Delivery, outcome: Outcome) -> None:
        before = self.on_settling(delivery)
        self._settle(delivery, outcome)
        self.on_settled(delivery, outcome, before)

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        if not deadline_s:
            self.on_abort(assignment)
        await self._wait(lambda: [e for e in self.in_flight if e.delivery.assignment is assignment], deadline_s)

    async def close(self, deadline_s: float) -> None:
        await self._wait(lambda: list(self.in_flight), deadline_s)

    async def _wait(self, left: Callable[[], list[Exchange]], deadline_s: float) -> None:
        changed = asyncio.Event()
        self._waiting.append(changed)
        try:
            async with asyncio.timeout(deadline_s):
                while left():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.remove(changed)
        aborted = left()
        for exchange in aborted:
            exchange.is_aborted = True
            self._application.end(exchange, ABORTED)
        if aborted:
            await asyncio.sleep(self._application.abort_s())
        for exchange in aborted:
            self.answered(exchange, ABORTED)

    def on_peers(self, peers: Sequence[Peer]) -> None: ...

    def statistics(self) -> AdapterStatistics:
        return AdapterStatistics({"in_flight": len(self.in_flight)})
