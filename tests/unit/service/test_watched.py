"""Deliveries that follow the files of their secrets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mpsd.config import Config, RestDelivery, reveal, validate
from mpsd.core.outcome import DELIVERED, Unavailable, Withdrawn
from mpsd.delivery.rest import BatchAdapter, RestAdapter
from mpsd.service.build import rest_adapter
from mpsd.service.reload import Reloads, Watched
from tests.conformance.deliveries import Settlements, delivery
from tests.conformance.http_server import HttpServer, Peer, Request


class Stage:
    """An application with a token, and a delivery to it whose URL and token are files."""

    def __init__(self, folder: Path) -> None:
        self.url, self.token_file = folder / "url", folder / "token"
        self.token = "one"
        self.seen: list[Request] = []
        self.reloads = Reloads(60.0)
        self.settlements = Settlements()
        self.config: Config
        self.adapter: RestAdapter | BatchAdapter
        self.watched: Watched[RestDelivery, RestAdapter | BatchAdapter]

    async def serve(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            self.seen.append(request)
            await peer.answer(200 if request.header("authorization") == f"Bearer {self.token}" else 401)

    def configure(self, port: int, batch: int) -> None:
        self.url.write_text(f"http://127.0.0.1:{port}/first?key=1")
        self.token_file.write_text("one")
        given = {
            "protocol": "rest",
            "url": {"file": "url"},
            "auth": {"bearer": {"file": "token"}},
            "batch": {"records_max": batch},
        }
        tree = {
            "kafka": {"bootstrap_servers": ["a:1"]},
            "subscriptions": [{"name": "billing", "topics": ["orders"], "group": "billing", "delivery": given}],
        }
        self.config = validate(tree, directory=self.url.parent)
        (subscription,) = self.config.subscriptions
        self.watched = rest_adapter(self.reloads, self.config, subscription, lambda: True)
        self.adapter = self.watched.user

    async def deliver(self) -> object:
        given = delivery()
        self.settlements.deliver(self.adapter, given)
        return await self.settlements.of(given)


@pytest.fixture(params=[1, 10])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    server = HttpServer(stage.serve)
    stage.configure(await server.start(), request.param)
    await stage.adapter.start(lambda: None, stage.settlements.settle)
    yield stage
    await stage.adapter.close(0.0)
    await server.stop()


async def test_a_refused_token_that_was_replaced_costs_nothing(stage: Stage) -> None:
    assert await stage.deliver() is DELIVERED
    stage.token = "two"
    assert isinstance(await stage.deliver(), Unavailable), "the new one is not there yet"
    write(stage.token_file, "two")
    stage.watched._looked_s -= 1  # long ago
    assert isinstance(await stage.deliver(), Withdrawn)
    assert await stage.deliver() is DELIVERED


async def test_a_secret_url_leads_to_another_path(stage: Stage) -> None:
    await stage.deliver()
    write(stage.url, reveal(stage.watched.part.url).replace("first?key=1", "second"))
    await stage.reloads.look()
    await stage.deliver()
    assert [request.line.split(" ")[1] for request in stage.seen] == ["/first?key=1", "/second"]


async def test_another_host_needs_a_restart(stage: Stage) -> None:
    """Dead letters and the doctor name the host."""
    write(stage.url, "http://elsewhere/second")
    await stage.reloads.look()
    await stage.reloads.look()
    assert "another host" in stage.watched.broken
    assert await stage.deliver() is DELIVERED


def write(file: Path, text: str) -> None:
    file.write_text(text)
