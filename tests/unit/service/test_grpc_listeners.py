"""Daemons that talk to each other over TLS as they are configured, with certificates and tokens, on the loopback."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc import aio

from mps.admin.v1 import admin_pb2 as pb
from mps.admin.v1 import admin_pb2_grpc
from mpsd.admin.grpc import Health
from mpsd.config import Config
from mpsd.errors import ConfigError
from mpsd.listeners.address import address_of, bind
from mpsd.ports import Peer
from mpsd.service.grpc_listeners import serving_admin
from mpsd.service.reload import Reloads
from tests.fakes.control import FakeControlTopic
from tests.fakes.pipeline import SUBSCRIPTION
from tests.fakes.records import FAILED
from tests.fakes.steerable import TOKENS, FakeDaemon, FollowingControl, bearer, following_pipe, settled
from tests.unit.admin.test_requests import CHANGES
from tests.unit.admin.test_servicer import change, refused

PAUSE = CHANGES["Pause"](change())
ENTRY = '[[tokens]]\nname = "{0}"\nrole = "{0}"\ntoken = "{1}"\n'


class Authority:
    """One that signs certificates for instances, and for people."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._signs = trustme.CA()
        self.root = self._signs.cert_pem.bytes()
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(self.root)

    def certified(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate that is good for the loopback, and of its key."""
        leaf = self._signs.issue_cert("127.0.0.1", common_name=name)
        cert, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key.write_bytes(leaf.private_key_pem.bytes())
        return cert, key

    def client(self, name: str) -> tuple[bytes, bytes]:
        """Key and certificate."""
        cert, key = self.certified(name)
        return key.read_bytes(), cert.read_bytes()


class Secured:
    """A daemon of a fleet, and a stub that calls it as somebody with a certificate."""

    def __init__(self, daemon: FakeDaemon, control: FollowingControl, stub: Any, reloads: Reloads) -> None:
        self.daemon = daemon
        self.reloads = reloads
        self.control = control
        self.stub = stub
        self.address = daemon.peer.admin


@asynccontextmanager
async def fleet(
    tmp_path: Path,
    signs: Sequence[Authority],
    trusts: Sequence[Authority],
    *,
    peers_ca: Authority | None = None,
    roles: Sequence[Collection[str]] | None = None,
    entries: str = "",
) -> AsyncIterator[list[Secured]]:
    """One daemon for each authority that signs its certificate; called with a certificate of the first that it trusts.

    Args:
        trusts: sign the certificates of callers, other daemons among them.
        peers_ca: signs the certificates of other daemons, as each of them believes; by default the first.
        roles: whose tokens each daemon knows; empty: none is needed; by default all of them.
        entries: of the tokens file of each, instead.
    """
    topic, made = FakeControlTopic(), []
    client_ca = tmp_path / "client_ca.pem"
    client_ca.write_bytes(b"".join(each.root for each in trusts))
    async with AsyncExitStack() as stack:
        for number, authority in enumerate(signs):
            listener = bind("admin", "127.0.0.1:0")
            address = address_of(listener)
            cert, key = authority.certified(f"mps-{number}")
            known = ("viewer", "operator", "admin") if roles is None else roles[number]
            tokens = tmp_path / f"tokens-{number}.toml"
            tokens.write_text(entries or "".join(ENTRY.format(role, TOKENS[role]) for role in known))
            config = configured(
                tls={"cert": str(cert), "key": str(key), "client_ca": str(client_ca)},
                peers_ca=str((peers_ca or trusts[0]).ca),
                tokens_file=str(tokens) if known else None,
            )
            control = FollowingControl(topic, address)
            pipe = await stack.enter_async_context(following_pipe(control))
            daemon = FakeDaemon([pipe], control)
            daemon.peer = Peer(address, "", "")
            reloads = Reloads(60.0)
            await stack.enter_async_context(serving_admin(daemon, config, listener, Health(daemon), reloads))
            credentials = grpc.ssl_channel_credentials(authority.root, *trusts[0].client("anna"))
            channel = await stack.enter_async_context(aio.secure_channel(address, credentials))
            made.append(Secured(daemon, control, admin_pb2_grpc.AdminStub(channel), reloads))
        peers = [each.daemon.peer for each in made]
        for each in made:
            each.daemon.group_peers = peers
            each.daemon.pipes[0].pipeline.on_peers(peers)
        yield made


def configured(**admin: Any) -> Config:
    return Config.model_validate(
        {
            "kafka": {"bootstrap_servers": ["127.0.0.1:1"]},
            "subscriptions": [SUBSCRIPTION],
            "admin": {"peer_timeout_s": 1.0, **admin},
            "control": {"confirm_timeout_s": 3.0},
        }
    )


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "theirs")


async def test_any_of_them_answers_for_all_whoever_asks(tmp_path: Path, ours: Authority) -> None:
    async with fleet(tmp_path, [ours] * 3, [ours]) as all_of_them:
        for one in all_of_them:
            answer = await one.stub.GetStatus(pb.GetStatusRequest(), metadata=bearer("viewer"))
            assert [each.answered for each in answer.status.instances] == [True] * 3


async def test_a_change_is_confirmed_by_all_in_the_name_of_the_token(tmp_path: Path, ours: Authority) -> None:
    async with fleet(tmp_path, [ours] * 3, [ours]) as (one, *_):
        answer = await one.stub.Pause(PAUSE, metadata=bearer("operator"))
        assert answer.changed.confirmed
        assert [each.control_revision for each in answer.changed.instances] == [answer.changed.revision] * 3
        (entry,) = one.control.kept.entries
        assert (entry.method, entry.provenance.who, entry.provenance.instance) == ("Pause", "operator", one.address)


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_the_name_in_a_certificate_has_a_role_as_a_token_has(tmp_path: Path, ours: Authority, role: str) -> None:
    """Daemons know each other by theirs, and take the word of the one that has judged the caller."""
    entry = '[[tokens]]\nname = "{0}"\nrole = "{1}"\ncertificate = "{0}"\n'
    entries = "".join(entry.format(f"mps-{number}", "daemon") for number in range(2)) + entry.format("anna", role)
    async with fleet(tmp_path, [ours] * 2, [ours], entries=entries) as (one, _):
        answer = await one.stub.GetStatus(pb.GetStatusRequest())
        assert [each.answered for each in answer.status.instances] == [True] * 2
        call = one.stub.Pause(PAUSE)
        if role == "viewer":
            code, words, _, _ = await refused(call)
            assert (code, words) == (
                grpc.StatusCode.PERMISSION_DENIED,
                "Pause needs the role operator; anna has viewer",
            )
        else:
            assert (await call).changed.confirmed
            assert one.control.kept.entries[-1].provenance.who == "anna"


async def test_a_certificate_that_is_not_in_the_file_is_named(tmp_path: Path, ours: Authority) -> None:
    entries = '[[tokens]]\nname = "bob"\nrole = "admin"\ncertificate = "bob"\n'
    async with fleet(tmp_path, [ours], [ours], entries=entries) as (one,):
        code, words, _, _ = await refused(one.stub.GetStatus(pb.GetStatusRequest()))
        assert code == grpc.StatusCode.UNAUTHENTICATED
        assert words == "the client certificate of anna is not known here; callers and roles are in [admin] tokens_file"


@pytest.mark.parametrize("method", CHANGES)
async def test_a_viewer_changes_nothing_anywhere(tmp_path: Path, ours: Authority, method: str) -> None:
    async with fleet(tmp_path, [ours] * 2, [ours]) as (one, other):
        code, words, info, _ = await refused(
            getattr(one.stub, method)(CHANGES[method](change()), metadata=bearer("viewer"))
        )
        assert (code, info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "admin.permission_denied")
        assert "viewer has viewer" in words
        assert not one.control.log.topic.records
        assert not one.control.kept.entries + other.control.kept.entries


async def test_what_a_caller_may_is_for_each_of_them_to_say(tmp_path: Path, ours: Authority) -> None:
    """The caller's own token is passed on, and none takes another's word for it."""
    async with fleet(tmp_path, [ours] * 2, [ours], roles=[("viewer",), ("operator",)]) as (one, other):
        answer = await one.stub.GetStatus(pb.GetStatusRequest(), metadata=bearer("viewer"))
        found = {each.address: each for each in answer.status.instances}
        assert (found[one.address].answered, found[other.address].answered) == (True, False)
        assert "UNAUTHENTICATED" in found[other.address].problem


@pytest.mark.parametrize("tokens", [True, False])
async def test_one_with_a_certificate_of_another_authority_is_listed_as_not_answering(
    tmp_path: Path, ours: Authority, theirs: Authority, tokens: bool
) -> None:
    roles = None if tokens else [()] * 3
    async with fleet(tmp_path, [ours, ours, theirs], [ours], roles=roles) as (one, other, foreign):
        metadata = bearer("operator") if tokens else []
        answer = await one.stub.GetStatus(pb.GetStatusRequest(), metadata=metadata)
        found = {each.address: each for each in answer.status.instances}
        assert [found[each.address].answered for each in (one, other, foreign)] == [True, True, False]
        assert found[foreign.address].problem
        changed = (await one.stub.Pause(PAUSE, metadata=metadata)).changed
        found = {each.address: each for each in changed.instances}
        assert not changed.confirmed
        assert [found[each.address].answered for each in (one, other, foreign)] == [True, True, False]


@pytest.mark.parametrize("right", [True, False])
async def test_whose_certificates_peers_may_show_is_configured(
    tmp_path: Path, ours: Authority, theirs: Authority, right: bool
) -> None:
    """Certificates of daemons may be signed by another authority than those of callers."""
    believed = theirs if right else ours
    async with fleet(tmp_path, [theirs] * 2, [ours, theirs], peers_ca=believed) as (one, other):
        answer = await one.stub.GetStatus(pb.GetStatusRequest(), metadata=bearer("viewer"))
        found = {each.address: each.answered for each in answer.status.instances}
        assert found == {one.address: True, other.address: right}


async def test_another_authority_takes_over_while_they_ask_each_other(
    tmp_path: Path, ours: Authority, theirs: Authority
) -> None:
    """Certificates, those who sign them, and tokens are replaced in their files; then only the new ones are good."""
    async with fleet(tmp_path, [ours] * 2, [ours]) as all_of_them:
        for number in range(2):
            cert, key = theirs.certified(f"mps-{number}")
            replace(cert, tmp_path / "ours" / f"mps-{number}.pem")
            replace(key, tmp_path / "ours" / f"mps-{number}.key")
            (tmp_path / f"tokens-{number}.toml").write_text(ENTRY.format("viewer", "w" * 20))
        replace(theirs.ca, ours.ca)
        replace(theirs.ca, tmp_path / "client_ca.pem")
        for one in all_of_them:
            await one.reloads.look()
            assert [each.renewals for each in one.reloads.statistics()] == [1, 1, 1]
        for one in all_of_them:
            credentials = grpc.ssl_channel_credentials(theirs.root, *theirs.client("anna"))
            async with aio.secure_channel(one.address, credentials) as channel:
                stub = admin_pb2_grpc.AdminStub(channel)
                metadata = [("authorization", f"Bearer {'w' * 20}")]
                answer = await stub.GetStatus(pb.GetStatusRequest(), metadata=metadata)
                assert [each.answered for each in answer.status.instances] == [True] * 2
                with pytest.raises(aio.AioRpcError) as caught:
                    await stub.GetStatus(pb.GetStatusRequest(), metadata=bearer("viewer"))
                assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
            old = grpc.ssl_channel_credentials(theirs.root, *ours.client("bert"))
            async with aio.secure_channel(one.address, old) as channel:
                with pytest.raises(aio.AioRpcError) as caught:
                    await admin_pb2_grpc.AdminStub(channel).GetStatus(pb.GetStatusRequest(), metadata=metadata)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def replace(new: Path, old: Path) -> None:
    old.write_bytes(new.read_bytes())


@pytest.mark.parametrize("what", ["cert", "peers_ca"])
async def test_a_file_that_is_no_certificate_ends_the_start(tmp_path: Path, ours: Authority, what: str) -> None:
    cert, key = ours.certified("mps")
    bad = tmp_path / "bad.pem"
    bad.write_text("none")
    files = {"cert": str(cert), "key": str(key), "peers_ca": str(ours.ca)} | {what: str(bad)}
    config = configured(tls={"cert": files["cert"], "key": files["key"]}, peers_ca=files["peers_ca"])
    control = FollowingControl(FakeControlTopic(), "")
    daemon = FakeDaemon([], control)
    with bind("admin", "127.0.0.1:0") as listener, pytest.raises(ConfigError, match="not in PEM format"):
        async with serving_admin(daemon, config, listener, Health(daemon), Reloads(60.0)):
            pass


async def test_without_tokens_a_certificate_says_who_also_of_what_another_does(tmp_path: Path, ours: Authority) -> None:
    async with fleet(tmp_path, [ours] * 2, [ours], roles=[(), ()]) as (one, other):
        await one.stub.Limit(CHANGES["Limit"](change()))
        assert [entry.provenance.who for entry in one.control.kept.entries] == ["anna"]
        pipe = other.daemon.pipes[0]
        pipe.adapter.answer = lambda _: None
        pipe.source.assign()
        pipe.source.produce(b"a")
        await settled()
        for delivery in list(pipe.adapter.in_flight):
            pipe.adapter.end(delivery, FAILED)
        await one.stub.Skip(CHANGES["Skip"](change(request_id="skip")))
        (entry,) = other.control.kept.entries
        assert (entry.method, entry.provenance.who) == ("Skip", "anna by way of mps-0")
