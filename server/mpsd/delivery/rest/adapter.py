"""The delivery port over HTTP/1.1, one record in each request."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Never

from mpsd.config import RestDelivery
from mpsd.core.delivery import Delivery
from mpsd.core.outcome import Outcome
from mpsd.delivery.rest.client.pool import Requests
from mpsd.delivery.rest.poster import NOT_SENT, Poster, Surroundings
from mpsd.delivery.rest.request import RequestHeads
from mpsd.ports import AdapterStatistics, Demand

DEMAND_BYTES = 1 << 40
"""Values are not copied before they are sent, so that connections are the only bound."""


class RestAdapter(Poster[Delivery, Never]):
    """A poster of records to one URL, one in each request.

    Takes: deliveries, as many as it has connections that are free or may be opened.
    Gives: one outcome for each.
    Holds at most: `concurrency_max` deliveries.

    Raises:
        ConfigError: the URL, a webhook secret, or a file of the TLS settings cannot be used.
    """

    def __init__(
        self,
        subscription: str,
        delivery: RestDelivery,
        around: Surroundings = Surroundings(),  # noqa: B008 - it cannot be changed
    ) -> None:
        super().__init__(subscription, delivery, RequestHeads, around)
        self._free = delivery.concurrency_max

    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        """See `DeliveryAdapter`; connections are opened when deliveries need them."""
        self._on_demand = on_demand
        self._settle = settle
        self._deliver = self._start(
            Requests(
                head=self.writer.head,
                body=attrgetter("record.value"),
                concerns=lambda delivery, assignment: delivery.assignment is assignment,
                judge=self.judge,
                ended=self._ended,
                withdrawn=lambda delivery, _: self._ended(delivery, NOT_SENT),
            )
        )

    def demand(self) -> Demand:
        return Demand(0 if self._is_closed else self._free, DEMAND_BYTES)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """See `DeliveryAdapter`."""
        assert not self._is_closed
        assert len(batch) <= self._free
        self._free -= len(batch)
        self._deliver(batch)

    def statistics(self) -> AdapterStatistics:
        return self._statistics(free=self._free)

    def _ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """Settle a delivery; the only place that does."""
        was_full = self._free == 0
        self._free += 1
        self._settle(delivery, outcome)
        if was_full and self._free:
            self._on_demand()
