"""A way to deliver that never leaves memory."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import DELIVERED, Outcome
from mpsd.ports import AdapterStatistics, Demand, Peer
from tests.fakes.records import LOST, TAKEN_BACK

Answer = Callable[[Delivery], Outcome | None]


class Started(NamedTuple):
    """A delivery that was begun."""

    at_s: float
    partition: int
    offset: int
    attempt: int


class FakeAdapter:
    """`DeliveryAdapter`: what the application says of a delivery is a function, how long it takes a number.

    It complains of more than its demand, of two deliveries of one lane at once, and of one after its partition was revoked.

    Attributes:
        answer: the outcome; None leaves the delivery in flight until `end` or `crash`.
        takes_s: from the start of a delivery to its outcome.
    """

    def __init__(self, concurrency_max: int = 64) -> None:
        self.answer: Answer = lambda _: DELIVERED
        self.takes_s = 0.01
        self.bytes_max = 1 << 40
        self.in_flight: dict[Delivery, asyncio.TimerHandle | None] = {}
        self.started: list[Started] = []
        self.batches: list[int] = []
        self.in_flight_most = 0
        self.is_closed = False
        self._concurrency_max = concurrency_max
        self._revoked: set[Assignment] = set()
        self._waiting: list[asyncio.Event] = []

    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        self._on_demand = on_demand
        self._settle = settle

    @property
    def concurrency_max(self) -> int:
        return self._concurrency_max

    @concurrency_max.setter
    def concurrency_max(self, value: int) -> None:
        had_none = self.demand().records <= 0
        self._concurrency_max = value
        if had_none and self.demand().records > 0:
            self._on_demand()

    @property
    def offsets(self) -> list[int]:
        """Return the offsets of all deliveries begun, in the order of time."""
        return [started.offset for started in self.started]

    def times(self, offset: int) -> list[float]:
        """Return the times at which deliveries of the record began."""
        return [started.at_s for started in self.started if started.offset == offset]

    def demand(self) -> Demand:
        return Demand(0 if self.is_closed else self._concurrency_max - len(self.in_flight), self.bytes_max)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        loop = asyncio.get_running_loop()
        assert 0 < len(batch) <= self.demand().records
        self.batches.append(len(batch))
        for delivery in batch:
            lanes = {(other.assignment, other.lane) for other in self.in_flight if other.lane is not None}
            assert (delivery.assignment, delivery.lane) not in lanes, f"{delivery} overlaps its lane"
            assert delivery.assignment not in self._revoked, f"{delivery} after its partition was revoked"
            record = delivery.record
            self.started.append(Started(loop.time(), record.partition, record.offset, delivery.attempt))
            outcome = self.answer(delivery)
            self.in_flight[delivery] = (
                None if outcome is None else loop.call_later(self.takes_s, self.end, delivery, outcome)
            )
        self.in_flight_most = max(self.in_flight_most, len(self.in_flight))
        self.changed()

    def end(self, delivery: Delivery, outcome: Outcome) -> None:
        handle = self.in_flight.pop(delivery)
        if handle is not None:
            handle.cancel()
        self._settle(delivery, outcome)
        if len(self.in_flight) == self._concurrency_max - 1:
            self._on_demand()
        self.changed()

    def crash(self) -> None:
        """Everything in flight is lost."""
        for delivery in list(self.in_flight):
            self.end(delivery, LOST)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what changes with deliveries only; where nothing is on its way any more, that is a deadlock."""
        while not condition():
            event = asyncio.Event()
            self._waiting.append(event)
            await event.wait()

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        self._revoked.add(assignment)
        try:
            await self._drain(deadline_s, assignment)
        finally:
            self._revoked.discard(assignment)

    async def close(self, deadline_s: float) -> None:
        self.is_closed = True
        await self._drain(deadline_s, None)

    async def _drain(self, deadline_s: float, assignment: Assignment | None) -> None:
        def draining() -> list[Delivery]:
            return [each for each in self.in_flight if assignment is None or each.assignment is assignment]

        try:
            async with asyncio.timeout(deadline_s):
                await self.until(lambda: not draining())
        except TimeoutError:
            for delivery in draining():
                self.end(delivery, TAKEN_BACK)

    def changed(self) -> None:
        """Let `until` look again."""
        for event in self._waiting:
            event.set()
        self._waiting.clear()

    def on_peers(self, peers: Sequence[Peer]) -> None: ...

    def statistics(self) -> AdapterStatistics:
        return AdapterStatistics({"in_flight": len(self.in_flight)})
