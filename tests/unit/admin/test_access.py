"""Rights to call methods, tested over real channels."""

import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.access import ROLES, _address, _certified
from mpsd.listeners.rights import Role
from tests.fakes.steerable import bearer, served, tokens

PROTO = Path(__file__).parents[3] / "proto" / "mps" / "admin" / "v1" / "admin.proto"
PAUSE = pb.PauseRequest(change=pb.Change(request_id="1", reason="test"), selection=pb.Selection(subscription="billing"))


async def code_of(call: Any) -> grpc.StatusCode:
    code = await call.code()
    assert isinstance(code, grpc.StatusCode)
    return code


def test_roles_are_those_of_the_contract() -> None:
    said = re.findall(r"Role: (\w+)[^\n]*\n  rpc (\w+)\(", PROTO.read_text())
    assert {method: role for role, method in said} == {method: role.name.lower() for method, role in ROLES.items()}


@pytest.mark.parametrize(
    ("role", "reads", "changes"),
    [
        ("viewer", grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED),
        ("operator", grpc.StatusCode.OK, grpc.StatusCode.OK),
        ("admin", grpc.StatusCode.OK, grpc.StatusCode.OK),
    ],
)
async def test_a_role_may_do_what_it_may(role: str, reads: grpc.StatusCode, changes: grpc.StatusCode) -> None:
    async with served(known=tokens()) as (one,):
        assert await code_of(one.stub.GetStatus(pb.GetStatusRequest(), metadata=bearer(role))) == reads
        assert await code_of(one.stub.Pause(PAUSE, metadata=bearer(role))) == changes
        watch = one.stub.WatchStatus(pb.WatchStatusRequest(), metadata=bearer(role))
        assert (await watch.read()).status.instances
        watch.cancel()


@pytest.mark.parametrize("role", ["consumer", "viewer", "operator", "admin"])
async def test_every_method_asks_for_its_role(role: str) -> None:
    """The requests are invalid: callers with the role are refused for that alone."""
    async with served(known=tokens()) as (one,):
        for method in pb.DESCRIPTOR.services_by_name["Admin"].methods:
            request = getattr(pb, method.input_type.name)()
            call = getattr(one.stub, method.name)(request, metadata=bearer(role))
            if method.name == "WatchStatus" and role != "consumer":
                assert (await call.read()).status.instances
                call.cancel()
                continue
            if method.name == "WatchStatus":
                with pytest.raises(aio.AioRpcError):
                    await call.read()
            is_refused = await code_of(call) == grpc.StatusCode.PERMISSION_DENIED
            assert is_refused == (Role[role.upper()] < ROLES[method.name]), method.name
        assert not one.daemon.control.changes


@pytest.mark.parametrize(
    "metadata", [[], [("authorization", "Bearer wrong" + "x" * 20)], [("authorization", "Basic eA")]]
)
async def test_who_is_not_known_may_do_nothing(metadata: list[tuple[str, str]]) -> None:
    async with served(known=tokens()) as (one,):
        for call in (
            one.stub.GetStatus(pb.GetStatusRequest(), metadata=metadata),
            one.stub.Pause(PAUSE, metadata=metadata),
            one.stub.GetVersion(pb.GetVersionRequest(), metadata=metadata),
        ):
            assert await code_of(call) == grpc.StatusCode.UNAUTHENTICATED
        watch = one.stub.WatchStatus(pb.WatchStatusRequest(), metadata=metadata)
        with pytest.raises(aio.AioRpcError) as caught:
            await watch.read()
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert not one.daemon.control.changes


async def test_who_made_a_change_is_known() -> None:
    async with served(known=tokens()) as (one,):
        await one.stub.Pause(PAUSE, metadata=bearer("operator"))
        assert one.daemon.control.changes[0][2]["who"] == "operator"
    async with served() as (one,):
        await one.stub.Pause(PAUSE)
        assert one.daemon.control.changes[0][2]["who"] == "local"


async def test_credentials_are_passed_on_to_the_others() -> None:
    async with served(3, known=tokens()) as (one, *_):
        answer = await one.stub.GetStatus(pb.GetStatusRequest(), metadata=bearer("viewer"))
        assert [instance.answered for instance in answer.status.instances] == [True] * 3


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("ipv4:127.0.0.1:4711", "local"),
        ("ipv6:%5B::1%5D:4711", "local"),
        ("ipv6:[::1]:4711", "local"),
        ("unix:/run/mps", "local"),
        ("ipv4:10.0.0.7:4711", "10.0.0.7"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
    ],
)
def test_a_caller_without_credentials_is_local_or_an_address(peer: str, name: str) -> None:
    assert _address(peer) == name


def test_a_certificate_has_a_name() -> None:
    assert _certified({"x509_common_name": [b"ops"], "x509_subject_alternative_name": [b"a"]}) == "ops"
    assert _certified({"x509_subject_alternative_name": [b"spiffe://ops", b"b"]}) == "spiffe://ops"
    assert _certified({}) == "certificate without a name"
