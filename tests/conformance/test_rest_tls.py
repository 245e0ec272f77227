"""https:// endpoints are verified, always."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from mpsd.config import ClientTls
from mpsd.core.outcome import DELIVERED, Unavailable
from tests.conformance.deliveries import deliveries, delivery
from tests.conformance.http_server import Peer
from tests.conformance.rest_stage import rest

URL = "https://localhost:{port}/orders"


async def accepting(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.answer(200)


async def localhost(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_a_custom_authority_is_trusted(authority: trustme.CA, ca: str) -> None:
    tls = server_context(authority, "localhost")
    async with rest(accepting, url=URL, server_tls=tls, look_up=localhost, tls=ClientTls(ca=ca)) as stage:
        for each in deliveries(3):
            assert await stage.outcome(each) is DELIVERED
        assert await stage.outcome(delivery(value=b"x" * 3_000_000)) is DELIVERED
        assert stage.server.connections == 1


@pytest.mark.parametrize("name", ["billing.example", "127.0.0.1"])
async def test_a_certificate_of_another_name_is_refused(authority: trustme.CA, ca: str, name: str) -> None:
    tls = server_context(authority, name)
    async with rest(accepting, url=URL, server_tls=tls, look_up=localhost, tls=ClientTls(ca=ca)) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Unavailable)
        assert outcome.code == "tls"


async def test_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    tls = server_context(authority, "localhost")
    async with rest(accepting, url=URL, server_tls=tls, look_up=localhost) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Unavailable)
        assert outcome.code == "tls"


async def test_a_client_certificate_is_shown(authority: trustme.CA, ca: str, tmp_path: Path) -> None:
    tls = server_context(authority, "localhost")
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    mine = authority.issue_cert("mpsd.example")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "mine.pem")
    client = ClientTls(ca=ca, cert=str(tmp_path / "mine.pem"))
    async with rest(accepting, url=URL, server_tls=tls, look_up=localhost, tls=client) as stage:
        assert await stage.outcome(delivery()) is DELIVERED


async def test_a_peer_that_speaks_no_tls_is_unavailable(ca: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with rest(script, url=URL, look_up=localhost, tls=ClientTls(ca=ca)) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Unavailable)
        assert outcome.code == "tls"


async def test_a_handshake_that_does_not_end_times_out(ca: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with rest(script, url=URL, look_up=localhost, tls=ClientTls(ca=ca), connect_timeout_s=0.05) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Unavailable)
        assert outcome.code == "connect_timeout"


async def test_a_connection_lost_in_the_handshake_is_unavailable(ca: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        peer.reset()

    async with rest(script, url=URL, look_up=localhost, tls=ClientTls(ca=ca)) as stage:
        outcome = await stage.outcome(delivery())
        assert isinstance(outcome, Unavailable)
        assert outcome.code == "tls"


async def test_time_outs_end_tls_connections_too(authority: trustme.CA, ca: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    tls = server_context(authority, "localhost")
    async with rest(script, url=URL, server_tls=tls, look_up=localhost, tls=ClientTls(ca=ca), timeout_s=0.1) as stage:
        outcome = await stage.outcome(delivery())
        assert getattr(outcome, "code", "") == "timeout"
        await stage.server.watch.until(lambda: stage.server.open == 0)


async def test_a_host_that_takes_no_connections_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        await asyncio.sleep(0)
        async with rest(accepting, url=f"http://127.0.0.1:{address[1]}/", connect_timeout_s=0.1) as stage:
            outcome = await stage.outcome(delivery())
            assert isinstance(outcome, Unavailable)
            assert outcome.code == "connect_timeout"
        for each in waiting:
            each.close()
