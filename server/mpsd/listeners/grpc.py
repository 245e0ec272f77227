"""A gRPC listener with bounds.

gRPC opens its socket itself, so the one that was bound at the start is closed the moment before: it has kept the port,
and has named it where a free one was asked for.
"""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
from grpc import aio

from mpsd.config.daemon import ListenerTls
from mpsd.listeners.address import address_of, in_use
from mpsd.listeners.tls import pem_files

CALLS_MAX = 1000
METADATA_BYTES_MAX = 16_384
MESSAGE_BYTES_MAX = 4_194_304
KEEPALIVE_MS = 60_000
"""A client that vanished without a word is noticed after this and the time-out below."""
KEEPALIVE_TIMEOUT_MS = 20_000


def bounded_server(calls_max: int = CALLS_MAX, interceptors: Sequence[aio.ServerInterceptor] = ()) -> aio.Server:
    """A server to add services to.

    Args:
        calls_max: calls at a time; more are answered RESOURCE_EXHAUSTED.
    """
    return aio.server(
        interceptors=interceptors,
        maximum_concurrent_rpcs=calls_max,
        options=(
            ("grpc.so_reuseport", 0),  # else two daemons share a port and each gets half of the calls
            ("grpc.max_metadata_size", METADATA_BYTES_MAX),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_concurrent_streams", calls_max),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ),
    )


@asynccontextmanager
async def serving_grpc(
    table: str, server: aio.Server, listener: socket.socket, tls: ListenerTls | None = None, close_s: float = 1.0
) -> AsyncIterator[None]:
    """Serve on the address of a bound socket within the context.

    Args:
        table: of the configuration, for messages.
        close_s: how long calls may go on that are under way at the end; then they are cancelled.

    Raises:
        AddressInUse: somebody took the port in that moment.
        ConfigError: the files of `tls` do not work.
    """
    credentials = _credentials(table, tls) if tls else None
    address = address_of(listener)
    listener.close()
    try:
        if credentials:
            server.add_secure_port(address, credentials)
        else:
            server.add_insecure_port(address)
    except RuntimeError as error:
        raise in_use(table, address) from error
    await server.start()
    try:
        yield
    finally:
        await server.stop(close_s)


def _credentials(table: str, tls: ListenerTls) -> grpc.ServerCredentials:
    key, certificate, client_ca = pem_files(table, tls)
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=client_ca, require_client_auth=client_ca is not None
    )
