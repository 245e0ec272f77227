"""The pull endpoints on a real socket, with records that are ready whenever somebody asks."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

from starlette.applications import Starlette

from mpsd.config import PullDelivery
from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import Outcome
from mpsd.core.record import TopicPartition
from mpsd.delivery.pull import PullAdapter
from mpsd.delivery.pull.peer_request import PeerClient
from mpsd.delivery.pull.routes import PullApi
from mpsd.listeners.address import address_of, bind
from mpsd.listeners.http import Bounds, serving_http
from mpsd.listeners.tokens import Tokens
from mpsd.ports import Peer
from tests.conformance.deliveries import delivery
from tests.conformance.http_client import Caller

LEASES = "/v1/subscriptions/billing/leases"


class Served:
    """A stand-in for the pipeline: hands over what is ready, and keeps what came of it.

    Attributes:
        ready: next to be delivered; what is withdrawn comes back to the front.
    """

    def __init__(self, adapter: PullAdapter, address: str) -> None:
        self.adapter = adapter
        self.address = address
        self.ready: deque[Delivery] = deque()
        self.outcomes: list[tuple[Delivery, Outcome]] = []
        self.assignment = Assignment(TopicPartition("orders", 3), 7)
        self._changed = asyncio.Event()

    def caller(self) -> Caller:
        return Caller(self.address)

    def add(self, count: int, **fields: Any) -> None:
        for offset in range(count):
            self.ready.append(delivery(self.assignment, offset=offset, **fields))
        self.on_demand()

    def on_demand(self) -> None:
        asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        records = min(self.adapter.demand().records, len(self.ready))
        if records:
            self.adapter.deliver([self.ready.popleft() for _ in range(records)])

    def settle(self, settled: Delivery, outcome: Outcome) -> None:
        self.outcomes.append((settled, outcome))
        self._changed.set()

    def statistic(self, name: str) -> Any:
        return self.adapter.statistics().numbers[name]

    async def until(self, condition: Callable[[], bool]) -> None:
        """For what the adapter does by itself; looks again in every turn of the loop."""
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - it is told of nothing else
                await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(
    *,
    tokens: Tokens | None = None,
    body_bytes_max: int = 1 << 20,
    bounds: Bounds | None = None,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    """Serve an adapter at work behind its endpoints.

    Args:
        tls: of the listener, and of those who call it.
    """
    listener = bind("http", "127.0.0.1:0")
    address = address_of(listener)
    adapter = PullAdapter("billing", PullDelivery(protocol="pull", **settings), Peer("", address, "", token_hex(5)))
    api = PullApi(
        {"billing": adapter},
        ["billing", "posted"],
        PeerClient(tls[1] if tls else None, 1 << 24),
        body_bytes_max=body_bytes_max,
        tokens=tokens,
    )
    served = Served(adapter, address)
    await adapter.start(served.on_demand, served.settle)
    async with serving_http(Starlette(routes=api.routes()), listener, tls[0] if tls else None, bounds or Bounds()):
        try:
            yield served
        finally:
            await adapter.close(0.0)
