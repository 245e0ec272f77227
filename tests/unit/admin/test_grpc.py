"""The standard health service and reflection, asked over a real channel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mpsd.admin.grpc import HEALTH, WATCHERS_MAX, Health, add_health_and_reflection
from mpsd.config.daemon import ListenerTls
from mpsd.errors import AddressInUse, ConfigError
from mpsd.listeners.address import address_of, bind
from mpsd.listeners.grpc import GrpcCertificates, bounded_server, serving_grpc
from tests.fakes.daemon import QuietDaemon

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"


@asynccontextmanager
async def serving(daemon: QuietDaemon, close_s: float = 1.0) -> AsyncIterator[tuple[Health, aio.Channel]]:
    listener = bind("admin", "127.0.0.1:0")
    address = address_of(listener)
    health, server = Health(daemon, watch_s=0.01), bounded_server()
    add_health_and_reflection(server, health)
    async with serving_grpc("admin", server, listener, close_s=close_s), aio.insecure_channel(address) as channel:
        yield health, channel


def health_stub(channel: aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


async def check(channel: aio.Channel, service: str = "") -> int:
    answer = await health_stub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


async def test_health_follows_readiness_for_all_and_for_each_service() -> None:
    daemon = QuietDaemon(waiting=["billing: joining its group"])
    async with serving(daemon) as (_, channel):
        assert [await check(channel, name) for name in ("", HEALTH, REFLECTION)] == [NOT_SERVING] * 3
        daemon.waiting.clear()
        assert [await check(channel, name) for name in ("", HEALTH, REFLECTION)] == [SERVING] * 3


async def test_a_service_added_later_is_known_and_another_is_not() -> None:
    async with serving(QuietDaemon()) as (health, channel):
        health.serves("mps.admin.v1.AdminService")
        assert await check(channel, "mps.admin.v1.AdminService") == SERVING
        with pytest.raises(aio.AioRpcError) as caught:
            await check(channel, "mps.admin.v9.Nothing")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert "grpc.health.v1.Health" in (caught.value.details() or "")


async def test_a_watch_tells_changes_and_ends_with_the_service() -> None:
    daemon = QuietDaemon()
    async with serving(daemon) as (health, channel):
        watch = health_stub(channel).Watch(health_pb2.HealthCheckRequest())
        seen = [(await watch.read()).status]
        daemon.waiting.append("shutting down")
        seen.append((await watch.read()).status)
        daemon.waiting.clear()
        seen.append((await watch.read()).status)
        health.end()
        seen.append((await watch.read()).status)
        assert await watch.read() is aio.EOF
        assert await check(channel) == NOT_SERVING
    assert seen == [SERVING, NOT_SERVING, SERVING, NOT_SERVING]


async def test_a_watch_of_a_service_that_is_not_there_waits_for_it() -> None:
    async with serving(QuietDaemon()) as (health, channel):
        watch = health_stub(channel).Watch(health_pb2.HealthCheckRequest(service="later"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        health.serves("later")
        assert (await watch.read()).status == SERVING
        watch.cancel()


async def test_watches_are_bounded_and_given_back() -> None:
    async with serving(QuietDaemon()) as (_, channel):
        stub = health_stub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(WATCHERS_MAX)]
        for watch in watches:
            await watch.read()
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Watch(health_pb2.HealthCheckRequest()).read()
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        for watch in watches:
            watch.cancel()


async def test_stopping_with_an_open_watch_takes_no_grace() -> None:
    async with asyncio.timeout(30), serving(QuietDaemon(), close_s=3600) as (health, channel):
        watch = health_stub(channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        health.end()


async def reflect(
    channel: Any, request: reflection_pb2.ServerReflectionRequest
) -> reflection_pb2.ServerReflectionResponse:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([request]))
    answer = await call.read()
    assert isinstance(answer, reflection_pb2.ServerReflectionResponse)
    return answer


async def test_reflection_lists_what_is_served() -> None:
    async with serving(QuietDaemon()) as (_, channel):
        answer = await reflect(channel, reflection_pb2.ServerReflectionRequest(list_services=""))
    assert [service.name for service in answer.list_services_response.service] == [HEALTH, REFLECTION]


@pytest.mark.parametrize("name", ["mps/admin/v1/admin.proto", "mps/delivery/v1/delivery.proto"])
async def test_reflection_describes_the_contract(name: str) -> None:
    async with serving(QuietDaemon()) as (_, channel):
        answer = await reflect(channel, reflection_pb2.ServerReflectionRequest(file_by_filename=name))
    files = [FileDescriptorProto.FromString(file) for file in answer.file_descriptor_response.file_descriptor_proto]
    assert name in [file.name for file in files]
    assert all(file.service for file in files if file.name == name)


async def test_a_port_taken_in_the_last_moment_is_named() -> None:
    listener = bind("admin", "127.0.0.1:0")
    address = address_of(listener)
    async with serving_grpc("admin", bounded_server(), listener):
        with pytest.raises(AddressInUse, match=f"admin listener {address}: address already in use"):
            async with serving_grpc("admin", bounded_server(), _Closed(address)):  # type: ignore[arg-type]
                pass


class _Closed:
    """A socket whose address was lost to somebody else."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._name = host, int(port)

    def getsockname(self) -> tuple[str, int]:
        return self._name

    def close(self) -> None: ...


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> ListenerTls:
    ours, cert, key, client_ca = authority.issue_cert("127.0.0.1"), tmp_path / "cert", tmp_path / "key", tmp_path / "ca"
    ours.cert_chain_pems[0].write_to_path(cert)
    ours.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(client_ca)
    return ListenerTls(cert=str(cert), key=str(key), client_ca=str(client_ca))


async def test_mutual_tls(authority: trustme.CA, tls: ListenerTls) -> None:
    theirs, root = authority.issue_cert("client@example.org"), authority.cert_pem.bytes()
    key, certificate = theirs.private_key_pem.bytes(), theirs.cert_chain_pems[0].bytes()
    listener = bind("admin", "127.0.0.1:0")
    address, server = address_of(listener), bounded_server()
    add_health_and_reflection(server, Health(QuietDaemon()))
    async with serving_grpc("admin", server, listener, GrpcCertificates("admin", tls)):
        async with aio.secure_channel(address, grpc.ssl_channel_credentials(root, key, certificate)) as channel:
            assert await check(channel) == SERVING
        async with aio.secure_channel(address, grpc.ssl_channel_credentials(root)) as channel:
            with pytest.raises(aio.AioRpcError) as caught:
                await check(channel)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_certificates_are_exchanged_while_the_listener_serves(tls: ListenerTls, tmp_path: Path) -> None:
    """The old authority's clients are refused then, and the new one's are served; what is broken changes nothing."""
    other, certificates = trustme.CA(), GrpcCertificates("admin", tls)
    listener = bind("admin", "127.0.0.1:0")
    address, server = address_of(listener), bounded_server()
    add_health_and_reflection(server, Health(QuietDaemon()))
    theirs = other.issue_cert("client@example.org")
    credentials = grpc.ssl_channel_credentials(
        other.cert_pem.bytes(), theirs.private_key_pem.bytes(), theirs.cert_chain_pems[0].bytes()
    )
    async with serving_grpc("admin", server, listener, certificates):
        async with aio.secure_channel(address, credentials) as channel:
            with pytest.raises(aio.AioRpcError):
                await check(channel)
        ours = other.issue_cert("127.0.0.1")
        ours.cert_chain_pems[0].write_to_path(str(tls.cert))
        with pytest.raises(ConfigError, match="do not belong together"):
            certificates.renew(tls)
        ours.private_key_pem.write_to_path(str(tls.key))
        other.cert_pem.write_to_path(str(tls.client_ca))
        certificates.renew(tls)
        for _ in range(2):
            async with aio.secure_channel(address, credentials) as channel:
                assert await check(channel) == SERVING
        with pytest.raises(ConfigError, match="needs a restart"):
            certificates.renew(tls.model_copy(update={"client_ca": None}))
