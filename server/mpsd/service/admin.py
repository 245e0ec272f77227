"""The admin listener: who may call, whom it asks, and what it serves."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mps.admin.v1 import admin_pb2_grpc
from mpsd.admin.access import SERVICE, Access
from mpsd.admin.daemon import AdminSettings, Steerable
from mpsd.admin.fleet import Fleet, peer_credentials
from mpsd.admin.grpc import Health, add_health_and_reflection
from mpsd.admin.servicer import AdminServicer
from mpsd.config import Config
from mpsd.listeners.grpc import bounded_server, serving_grpc
from mpsd.service.reloads import Reloads
from mpsd.service.watched_listeners import watch_admin_peers, watch_grpc_tls, watch_tokens


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
    fleet = Fleet(daemon, admin.peer_timeout_s, peer_credentials(admin))
    watch_admin_peers(reloads, config, fleet)
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
