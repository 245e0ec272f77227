"""The gRPC listeners: one for operators and other daemons, one for applications that take records from a stream."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mps.admin.v1 import admin_pb2_grpc
from mpsd.admin.access import SERVICE, Access
from mpsd.admin.daemon import AdminSettings, Steerable
from mpsd.admin.grpc import Health, add_health_and_reflection
from mpsd.admin.servicer import AdminServicer
from mpsd.config import Config
from mpsd.delivery.stream.adapter import StreamAdapter
from mpsd.delivery.stream.servicer import SERVICE as STREAM_SERVICE
from mpsd.delivery.stream.servicer import DeliveryServicer
from mpsd.listeners.grpc import CALLS_MAX, bounded_server, serving_grpc
from mpsd.service.listener_files import watch_fleet, watch_grpc_tls, watch_tokens
from mpsd.service.reload import Reloads


@asynccontextmanager
async def serving_admin(
    daemon: Steerable, config: Config, listener: socket.socket, health: Health, reloads: Reloads
) -> AsyncIterator[None]:
    """Serve within the context; `health` says so, and is ended with it.

    Raises:
        ConfigError: the tokens file, or a file of `tls` or `peers_ca`, does not work.
        AddressInUse: somebody took the port in that moment.
    """
    admin = config.admin
    tokens = watch_tokens(reloads, config, "admin")
    certificates = watch_grpc_tls(reloads, config, "admin")
    needs_certificate = admin.tls is not None and admin.tls.client_ca is not None
    fleet = watch_fleet(reloads, config, daemon)
    settings = AdminSettings(values=admin.values, confirm_timeout_s=config.control.confirm_timeout_s)
    servicer = AdminServicer(daemon, fleet, settings)
    server = bounded_server(
        interceptors=[Access(tokens, needs_certificate=needs_certificate, instance=daemon.peer.instance)]
    )
    health.serves(SERVICE)
    admin_pb2_grpc.add_AdminServicer_to_server(servicer, server)
    add_health_and_reflection(server, health)
    rates = asyncio.create_task(servicer.rates.run(), name="rates")
    try:
        async with serving_grpc("admin", server, listener, certificates):
            try:
                yield
            finally:
                health.end()
                servicer.end()
    finally:
        rates.cancel()
        await asyncio.gather(rates, return_exceptions=True)
        await fleet.close()


@asynccontextmanager
async def serving_streams(
    daemon: Steerable, config: Config, listener: socket.socket, health: Health, reloads: Reloads
) -> AsyncIterator[None]:
    """Serve the streams of applications within the context, with health and reflection, whose probes know no other port.

    Raises:
        ConfigError: the tokens file or a file of `tls` cannot be used.
    """
    adapters = {pipeline.settings.name: pipeline.adapter for pipeline in daemon.pipelines}
    servicer = DeliveryServicer(
        {name: adapter for name, adapter in adapters.items() if isinstance(adapter, StreamAdapter)},
        {name for name, adapter in adapters.items() if not isinstance(adapter, StreamAdapter)},
        config.stream.streams_max,
        watch_tokens(reloads, config, "stream"),
    )
    server = bounded_server(config.stream.streams_max + CALLS_MAX)  # above the limit, so that the servicer refuses
    health.serves(STREAM_SERVICE)
    servicer.add_to(server)
    add_health_and_reflection(server, health)
    async with serving_grpc("stream", server, listener, watch_grpc_tls(reloads, config, "stream")):
        yield
