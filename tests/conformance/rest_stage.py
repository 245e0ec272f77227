"""A REST adapter in front of a scripted server."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mpsd.config import Batch, RestDelivery
from mpsd.core.delivery import Delivery
from mpsd.core.outcome import Outcome
from mpsd.delivery.rest import BatchAdapter, RestAdapter, Surroundings
from mpsd.delivery.rest.client.connector import LookUp, look_up
from tests.conformance.deliveries import Settlements
from tests.conformance.http_server import HttpServer, Script
from tests.fakes import rest_delivery

WALL_S = 1_000_000.0
"""The time of the wall clock in these tests."""


@dataclass(slots=True, kw_only=True)
class RestStage:
    adapter: RestAdapter | BatchAdapter
    server: HttpServer
    settings: RestDelivery
    settlements: Settlements = field(default_factory=Settlements)

    def deliver(self, *batch: Delivery) -> None:
        self.settlements.deliver(self.adapter, *batch)

    async def outcome(self, given: Delivery) -> Outcome:
        self.deliver(given)
        return await self.settlements.of(given)

    def renew(self, **changed: object) -> None:
        """Give the adapter other settings."""
        self.settings = rest_delivery.changed(self.settings, **changed)
        self.adapter.renew(self.settings)

    def statistic(self, name: str) -> int:
        return int(self.adapter.statistics().numbers[name])


@asynccontextmanager
async def rest(
    script: Script,
    *,
    url: str = "http://127.0.0.1:{port}/orders",
    host: str = "127.0.0.1",
    server_tls: ssl.SSLContext | None = None,
    look_up: LookUp = look_up,
    may_start: Callable[[], bool] = lambda: True,
    batch: Batch | None = None,
    dead_letter_stops_key: bool = False,
    look_again: Callable[["RestStage"], None] = lambda _: None,
    **settings: object,
) -> AsyncIterator[RestStage]:
    server = HttpServer(script)
    port = await server.start(host=host, tls=server_tls)
    given = {"concurrency_max": 8, **settings}
    if batch is not None:
        given["batch"] = batch
    told = rest_delivery.rest_delivery(url.format(port=port), **given)

    def look() -> None:
        look_again(stage)

    around = Surroundings(wall_s=lambda: WALL_S, look_up=look_up, may_start=may_start, look_again=look)
    adapter = (
        RestAdapter("billing", told, around)
        if batch is None
        else BatchAdapter("billing", told, around, dead_letter_stops_key=dead_letter_stops_key)
    )
    stage = RestStage(adapter=adapter, server=server, settings=told)
    await adapter.start(lambda: None, stage.settlements.settle)
    try:
        yield stage
    finally:
        await adapter.close(0.0)
        await server.stop()
    assert not stage.settlements.complaints
    assert not stage.settlements.open
