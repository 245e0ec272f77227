"""The parts that a test of the suite works with."""

from dataclasses import dataclass

from mpsd.core.delivery import Delivery
from mpsd.core.outcome import Outcome
from mpsd.ports import DeliveryAdapter
from tests.conformance.deliveries import Settlements
from tests.conformance.harness import AdapterHarness


@dataclass(slots=True)
class Stage:
    adapter: DeliveryAdapter
    application: AdapterHarness
    settlements: Settlements
    demanded: int = 0

    def on_demand(self) -> None:
        self.demanded += 1
        self.settlements.watch.changed()

    async def demanding(self, records: int = 1) -> None:
        """Wait until it would take so many."""
        await self.settlements.watch.until(lambda: self.adapter.demand().records >= records)

    def deliver(self, *batch: Delivery) -> None:
        self.settlements.deliver(self.adapter, *batch)

    async def outcome(self, given: Delivery) -> Outcome:
        """Deliver it and see what comes of it."""
        await self.demanding()
        self.deliver(given)
        return await self.settlements.of(given)
