"""Instances that speak to each other: encrypted, bounded, and never with a stranger."""

import asyncio
import json
from pathlib import Path

import pytest
import trustme

from mpsd.config.daemon import ListenerTls
from mpsd.delivery.pull.lease_ids import LeaseIds, holder, instance_of
from mpsd.delivery.pull.peer_request import PeerClient, PeerError
from mpsd.errors import ConfigError
from mpsd.listeners.tls import peer_context, server_context
from tests.conformance.http_server import HttpServer, Peer
from tests.unit.delivery.pull.served import LEASES, serving
from tests.unit.delivery.pull.test_waiting import met


def listener_tls(directory: Path, authority: trustme.CA) -> ListenerTls:
    issued = authority.issue_cert("127.0.0.1")
    cert, key, ca = (str(directory / name) for name in ("cert.pem", "key.pem", "ca.pem"))
    Path(cert).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    return ListenerTls.model_validate({"cert": cert, "key": key, "client_ca": ca})


async def test_encrypted_instances_forward_to_each_other(tmp_path: Path) -> None:
    tls = listener_tls(tmp_path, trustme.CA())
    contexts = server_context("http", tls), peer_context("http", tls, str(tls.client_ca))
    client = PeerClient(contexts[1], 1 << 20)
    async with serving(tls=contexts) as idle, serving(tls=contexts) as busy:
        met(idle, busy)
        busy.add(1)
        lease = json.loads((await client.post(idle.address, LEASES, {}, b"", 10.0)).body)
        settled = {"settlements": [{"delivery_id": lease["records"][0]["delivery_id"], "verdict": "ack"}]}
        path = f"{LEASES}/{lease['lease_id']}/settle"
        answer = await client.post(idle.address, path, {}, json.dumps(settled).encode(), 10.0)
        assert json.loads(answer.body)["results"][0]["result"] == "settled"
        assert len(busy.outcomes) == 1


async def test_an_instance_that_another_authority_signed_is_not_asked(tmp_path: Path) -> None:
    tls = listener_tls(tmp_path, trustme.CA())
    (tmp_path / "stranger").mkdir()
    stranger = listener_tls(tmp_path / "stranger", trustme.CA())
    client = PeerClient(peer_context("http", tls, str(tls.client_ca)), 1 << 20)
    contexts = server_context("http", stranger), peer_context("http", stranger, str(stranger.client_ca))
    async with serving(tls=contexts) as served:
        with pytest.raises(PeerError, match="certificate"):
            await client.post(served.address, LEASES, {}, b"", 10.0)


def test_authorities_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    tls = listener_tls(tmp_path, trustme.CA())
    with pytest.raises(ConfigError, match="peers_ca"):
        peer_context("http", tls, str(tmp_path / "missing.pem"))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"* OK IMAP4 ready\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n" + b"x" * 99_999,
        b"HTTP/1.1 200 OK\r\n",
    ],
)
async def test_whatever_a_peer_answers_it_is_bounded(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)

    server = HttpServer(script)
    address = f"127.0.0.1:{await server.start()}"
    try:
        with pytest.raises(PeerError, match="127"):
            await PeerClient(None, 1_000).post(address, LEASES, {}, b"{}", 10.0)
    finally:
        await server.stop()


async def test_a_peer_that_says_nothing_is_not_waited_for() -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    server = HttpServer(script)
    address = f"127.0.0.1:{await server.start()}"
    try:
        with pytest.raises(PeerError, match="TimeoutError"):
            await PeerClient(None, 1_000).post(address, LEASES, {}, b"{}", 0.05)
    finally:
        await server.stop()
    await asyncio.sleep(0)


def test_a_lease_names_its_instance_and_proves_itself() -> None:
    address = "10.0.0.5:7071"
    ids, again = LeaseIds("billing", instance_of(address)), LeaseIds("billing", instance_of(address))
    first, second = ids.issue(), ids.issue()
    assert first != second
    assert holder(first) == instance_of(address)
    assert ids.is_ours(first)
    assert not again.is_ours(first), "a process that was started anew knows nothing of it"
    assert not ids.is_ours(first[:-1] + ("0" if first[-1] != "0" else "1"))
    assert instance_of("") != instance_of(""), "who cannot be reached is told apart all the same"
