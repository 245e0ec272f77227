"""The stream adapter behind its listener, and as many clients as a test wants."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from mpsd.config import Stream, StreamDelivery
from mpsd.core.delivery import Delivery
from mpsd.core.outcome import Outcome
from mpsd.delivery.stream.adapter import StreamAdapter
from mpsd.delivery.stream.servicer import DeliveryServicer
from mpsd.listeners.address import address_of, bind
from mpsd.listeners.grpc import bounded_server, serving_grpc
from mpsd.listeners.tokens import Tokens
from tests.conformance.deliveries import Settlements
from tests.conformance.stream_client import StreamClient


@dataclass(slots=True)
class StreamStage:
    adapter: StreamAdapter
    servicer: DeliveryServicer
    settlements: Settlements
    address: str
    may_start: bool = True
    clients: list[StreamClient] = field(default_factory=list)

    async def client(
        self, *, records: int = 0, size: int = 0, client: str = "", subscription: str = "billing"
    ) -> StreamClient:
        """One that has opened its stream, and knows it."""
        opened = await self.dial().open(subscription, client=client, records=records, size=size)
        self.session = (await opened.next("opened")).session
        return opened

    def dial(self, *metadata: tuple[str, str]) -> StreamClient:
        """One that has not said anything yet."""
        self.clients.append(client := StreamClient(self.address, metadata))
        return client

    async def demanding(self, records: int) -> None:
        await self.settlements.watch.until(lambda: self.adapter.demand().records >= records)

    def deliver(self, *batch: Delivery) -> None:
        self.settlements.deliver(self.adapter, *batch)

    def outcome(self, given: Delivery) -> Outcome:
        return self.settlements.outcomes[given]

    def statistic(self, name: str) -> int:
        return int(self.adapter.statistics().numbers[name])

    session: str = ""


@asynccontextmanager
async def streams(
    *,
    concurrency_max: int = 1_000,
    lease_s: float = 30.0,
    keep_alive_s: float = 10.0,
    frame_bytes_max: int = 1_048_576,
    streams_max: int = 200,
    tokens: Tokens | None = None,
    open_within_s: float = 10.0,
    network: str = "",
) -> AsyncIterator[StreamStage]:
    settlements = Settlements()
    delivery = StreamDelivery(protocol="stream", concurrency_max=concurrency_max, lease_s=lease_s)
    stream = Stream.model_construct(keep_alive_s=keep_alive_s, frame_bytes_max=frame_bytes_max)
    adapter = StreamAdapter("billing", delivery, stream, network, may_start=lambda: stage.may_start)
    servicer = DeliveryServicer({"billing": adapter}, {"pushed"}, streams_max, tokens, open_within_s)
    listener = bind("stream", "127.0.0.1:0")
    stage = StreamStage(adapter, servicer, settlements, address_of(listener))
    server = bounded_server()
    servicer.add_to(server)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving_grpc("stream", server, listener, close_s=0.0))
        await adapter.start(settlements.watch.changed, settlements.settle)
        try:
            yield stage
        finally:
            await adapter.close(0.0)
            for client in stage.clients:
                await client.close()
    assert not settlements.complaints
    assert not settlements.open
