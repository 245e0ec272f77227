"""A way to deliver that is looked over the shoulder."""

import time
from collections.abc import Callable, Mapping, Sequence

from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import Outcome
from mpsd.ports import DeliveryAdapter, Demand, Peer

Tell = Callable[[Delivery, int, Outcome, float], None]
"""Is told the delivery, its attempt, what it came to, and how long that took in seconds."""


class WatchedAdapter:
    """`DeliveryAdapter`: the inner one, with a word of each outcome to `tell` before the pipeline has it."""

    def __init__(self, inner: DeliveryAdapter, tell: Tell) -> None:
        self._inner = inner
        self._tell = tell

    async def start(self, on_demand: Callable[[], None], settle: Callable[[Delivery, Outcome], None]) -> None:
        def settled(delivery: Delivery, outcome: Outcome) -> None:
            self._tell(delivery, delivery.attempt, outcome, time.monotonic() - delivery.started_s)
            settle(delivery, outcome)

        await self._inner.start(on_demand, settled)

    def demand(self) -> Demand:
        return self._inner.demand()

    def deliver(self, batch: Sequence[Delivery]) -> None:
        self._inner.deliver(batch)

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None:
        await self._inner.revoke(assignment, deadline_s)

    async def close(self, deadline_s: float) -> None:
        await self._inner.close(deadline_s)

    def on_peers(self, peers: Sequence[Peer]) -> None:
        self._inner.on_peers(peers)

    def statistics(self) -> Mapping[str, int | float | str]:
        return self._inner.statistics()
