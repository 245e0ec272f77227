"""Credentials, certificates and URLs that are exchanged while records are delivered."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from mpsd.config import Auth, Batch, ClientTls
from mpsd.core.outcome import DELIVERED, Unavailable, Withdrawn
from mpsd.errors import ConfigError
from tests.conformance.deliveries import deliveries, delivery
from tests.conformance.http_server import HttpServer, Peer, Request
from tests.conformance.rest_stage import RestStage, rest
from tests.fakes.rest_delivery import secret

URL = "https://localhost:{port}/orders"
WEBHOOK = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
BATCH = pytest.mark.parametrize("batch", [None, Batch(records_max=10)])


class Guard:
    """An application that accepts one token, which changes."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.seen: list[Request] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            self.seen.append(request)
            await peer.answer(200 if request.header("authorization") == f"Bearer {self.token}" else 401)


@BATCH
async def test_the_next_request_has_the_new_token(batch: Batch | None) -> None:
    guard = Guard("one")
    async with rest(guard, bearer="one", batch=batch) as stage:
        assert await stage.outcome(delivery()) is DELIVERED
        guard.token = "two"
        stage.renew(bearer="two")
        assert await stage.outcome(delivery()) is DELIVERED
        assert stage.server.connections == 1, "a token has nothing to do with the connection"


@BATCH
async def test_a_refusal_of_the_old_token_costs_nothing(batch: Batch | None) -> None:
    guard = Guard("two")

    def look_again(stage: RestStage) -> None:
        if stage.settings.auth == Auth(bearer=secret("one")):
            stage.renew(bearer="two")

    async with rest(guard, bearer="one", batch=batch, look_again=look_again) as stage:
        refused = await stage.outcome(delivery())
        assert isinstance(refused, Withdrawn)
        assert "credentials" in refused.reason
        assert await stage.outcome(delivery()) is DELIVERED
        guard.token = "three"
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Unavailable), "there is no other token: the endpoint is to blame"
        assert outcome.status == 401


@BATCH
async def test_all_that_was_in_flight_with_the_old_token_costs_nothing(batch: Batch | None) -> None:
    let = asyncio.Event()
    arrived = asyncio.Semaphore(0)

    async def refusing(peer: Peer) -> None:
        while True:
            request = await peer.request()
            arrived.release()
            await let.wait()
            await peer.answer(200 if request.header("authorization") == "Bearer two" else 401)

    async with rest(refusing, bearer="one", batch=batch) as stage:
        given = deliveries(4)
        for each in given:
            stage.deliver(each)
        for _ in given:
            await arrived.acquire()
        stage.renew(bearer="two")
        let.set()
        assert [type(await stage.settlements.of(each)) for each in given] == [Withdrawn] * 4


async def test_signatures_are_made_with_the_new_secrets() -> None:
    guard = Guard("one")
    async with rest(guard, bearer="one", webhook_secrets=WEBHOOK[:1]) as stage:
        await stage.outcome(delivery())
        stage.renew(webhook_secrets=WEBHOOK)
        await stage.outcome(delivery())
    first, second = (request.header("webhook-signature") or "" for request in guard.seen)
    assert (len(first.split(" ")), len(second.split(" "))) == (1, 2)


async def test_settings_that_cannot_be_used_change_nothing(tmp_path: Path) -> None:
    guard = Guard("one")
    async with rest(guard, bearer="one") as stage:
        for bad in ({"url": "nowhere"}, {"webhook_secrets": ("whsec_!",)}):
            with pytest.raises(ConfigError, match="cannot be used"):
                stage.renew(**bad, bearer="two")
        assert await stage.outcome(delivery()) is DELIVERED


async def test_another_url_leads_elsewhere() -> None:
    async def accepting(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(200)

    other = HttpServer(accepting)
    port = await other.start()
    try:
        async with rest(accepting) as stage:
            assert await stage.outcome(delivery()) is DELIVERED
            stage.renew(url=f"http://127.0.0.1:{port}/elsewhere")
            assert await stage.outcome(delivery()) is DELIVERED
            assert (stage.server.connections, other.connections) == (1, 1)
    finally:
        await other.stop()


async def localhost(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def test_a_client_certificate_is_exchanged(tmp_path: Path) -> None:
    """The server believes one authority after the other; the connection with the old certificate is replaced."""
    server, old, new = trustme.CA(), trustme.CA(), trustme.CA()
    ca, mine = tmp_path / "ca.pem", tmp_path / "mine.pem"
    server.cert_pem.write_to_path(ca)
    old.issue_cert("mpsd.example").private_key_and_cert_chain_pem.write_to_path(mine)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.issue_cert("localhost").configure_cert(context)
    old.configure_trust(context)
    new.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    shown: list[bytes] = []

    async def accepting(peer: Peer) -> None:
        shown.append(peer.writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        while True:
            await peer.request()
            await peer.answer(200)

    tls = ClientTls(ca=str(ca), cert=str(mine))
    async with rest(accepting, url=URL, server_tls=context, look_up=localhost, tls=tls) as stage:
        for _ in range(2):
            assert await stage.outcome(delivery()) is DELIVERED
        stage.renew(bearer="a")
        assert await stage.outcome(delivery()) is DELIVERED
        assert stage.server.connections == 1, "the certificate is the same"
        new.issue_cert("mpsd.example").private_key_and_cert_chain_pem.write_to_path(mine)
        stage.renew()
        for _ in range(2):
            assert await stage.outcome(delivery()) is DELIVERED
        assert len(shown) == len(set(shown)) == 2
        mine.write_text("no certificate")
        with pytest.raises(ConfigError, match="tls"):
            stage.renew()
        assert await stage.outcome(delivery()) is DELIVERED
