"""Instances that speak to each other: encrypted, bounded, and never with a stranger."""

import asyncio
import json
from pathlib import Path

import pytest
import trustme
from starlette.requests import Request
from starlette.types import Message

from mpsd import ports
from mpsd.config import PullDelivery
from mpsd.config.daemon import ListenerTls
from mpsd.core.outcome import Withdrawn
from mpsd.delivery.pull import PullAdapter
from mpsd.delivery.pull.exchange import LeaseExchange
from mpsd.delivery.pull.leases import LeaseIds, holder
from mpsd.delivery.pull.messages import LeaseRequest
from mpsd.delivery.pull.peer_request import PeerAnswer, PeerClient, PeerError
from mpsd.delivery.pull.peers import FORWARDED, MEANT, Peers
from mpsd.delivery.pull.record_json import RecordJson
from mpsd.errors import ConfigError
from mpsd.listeners.tls import peer_context, server_context
from tests.conformance.http_server import HttpServer, Peer
from tests.fakes.clock import turns
from tests.unit.delivery.pull.served import LEASES, serving
from tests.unit.delivery.pull.test_waiting import met

DELIVERY = PullDelivery(protocol="pull")
PEER = ports.Peer("", "127.0.0.1:1", "", "here")


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


@pytest.mark.parametrize("leaves", ["while another instance is asked", "before it has the answer"])
async def test_what_another_instance_gave_to_a_caller_that_left_is_given_back(leaves: str) -> None:
    left, lease_id, given_back = asyncio.Event(), "", asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        request = await peer.request()
        path = request.line.split()[1]
        if not path.endswith("/leases"):
            given_back.set_result((path, request.header("authorization"), request.header(FORWARDED)))
            await peer.answer(200, body=b"{}")
            return
        if leaves == "while another instance is asked":
            left.set()
        body = b'{"records":[{}],"lease_id":"%b"}' % lease_id.encode()
        await peer.answer(200, "mps-records: 1", body=body)

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        assert leaves == "before it has the answer", "nobody is there to read it"
        left.set()
        await turns()

    server = HttpServer(script)
    address = f"127.0.0.1:{await server.start()}"
    lease_id = "another.1.ab"
    adapter = PullAdapter("billing", DELIVERY, PEER)
    adapter.on_peers([ports.Peer("", address, "", "another")])
    await adapter.start(lambda: None, lambda delivery, outcome: None)
    request = Request(
        {"type": "http", "headers": [(b"authorization", b"Bearer t")], "path": LEASES, "query_string": b""}
    )
    peers, wanted = Peers(adapter, PeerClient(None, 1 << 20)), LeaseRequest(wait_s=20.0)
    try:
        async with asyncio.timeout(10.0):
            await LeaseExchange(adapter, peers, wanted, request, "http", RecordJson(adapter.keys))(
                request.scope, receive, send
            )
        assert given_back.result() == (f"{LEASES}/{lease_id}/give-back", "Bearer t", adapter.ids.instance)
        assert adapter.waiters == 0
    finally:
        await adapter.close(0.0)
        await server.stop()


async def test_records_that_are_given_back_cost_nothing_and_only_instances_do_it() -> None:
    client = PeerClient(None, 1 << 20)
    async with serving() as served:
        served.add(2)
        lease = json.loads((await client.post(served.address, LEASES, {}, b"", 10.0)).body)
        path = f"{LEASES}/{lease['lease_id']}/give-back"
        assert (await client.post(served.address, path, {}, b"", 10.0)).status == 403
        assert not served.outcomes
        assert (await client.post(served.address, path, {FORWARDED: "another"}, b"", 10.0)).status == 204
        assert [type(outcome) for _, outcome in served.outcomes] == [Withdrawn, Withdrawn]
        assert (await client.post(served.address, path, {FORWARDED: "another"}, b"", 10.0)).status == 204
        assert len(served.outcomes) == 2


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"lease_id": 1}', b'{"lease_id": "nobody.1.ab"}'])
async def test_a_lease_that_nobody_has_is_not_given_back(body: bytes) -> None:
    adapter = PullAdapter("billing", DELIVERY, PEER)
    adapter.on_peers([ports.Peer("", "127.0.0.1:2", "", "another")])
    await Peers(adapter, PeerClient(None, 1 << 20)).give_back(PeerAnswer(200, {}, body), None)


def test_a_lease_names_its_instance_and_proves_itself() -> None:
    ids, again = LeaseIds("billing", "a7"), LeaseIds("billing", "a7")
    first, second = ids.issue(), ids.issue()
    assert first != second
    assert holder(first) == "a7"
    assert ids.is_ours(first)
    assert not again.is_ours(first), "a process that was started anew knows nothing of it"
    assert not ids.is_ours(first[:-1] + ("0" if first[-1] != "0" else "1"))


async def test_who_answers_at_the_address_of_another_instance_gives_nothing_and_settles_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a restart, or where two instances advertise one address, another instance may answer."""
    async with serving() as here, serving() as there, here.caller() as caller:
        gone = ports.Peer("", there.address, "", "gone", "pod-b")
        here.adapter.on_peers([gone])
        there.add(1)
        assert (await caller.post(LEASES, {"wait_s": 0})).json() == {"records": []}
        settled = {"settlements": [{"delivery_id": "gone.1.ab.0", "verdict": "ack"}]}
        assert (await caller.post(f"{LEASES}/gone.1.ab/settle", settled)).status == 503
        answer = await PeerClient(None, 1 << 20).post(there.address, LEASES, {MEANT: "gone"}, b"", 10.0)
        assert answer.status == 421
        assert there.adapter.peer.instance in json.loads(answer.body)["detail"]
        assert there.statistic("asked") == 0
        assert f"{there.address}: another daemon answers there than gone on pod-b" in caplog.text


def test_a_loopback_address_of_another_host_is_no_peer() -> None:
    adapter = PullAdapter("billing", DELIVERY, ports.Peer("", "127.0.0.1:1", "", "own", network="a"))
    own, near, far = (
        ports.Peer("", f"127.0.0.1:{number}", "", name, name, network)
        for number, name, network in ((1, "own", "a"), (2, "near", "a"), (1, "far", "b"))
    )
    elsewhere = ports.Peer("", "10.0.0.2:1", "", "elsewhere", "elsewhere", "b")
    adapter.on_peers([own, near, far, elsewhere])
    assert [peer.instance for peer in adapter.peers] == ["elsewhere", "near"]
