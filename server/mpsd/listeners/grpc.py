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
from mpsd.errors import ConfigError, Problem
from mpsd.listeners.address import address_of, in_use
from mpsd.listeners.tls import pem_files

CALLS_MAX = 1000
METADATA_BYTES_MAX = 16_384
MESSAGE_BYTES_MAX = 4_194_304
KEEPALIVE_MS = 60_000
"""A client that vanished without a word is noticed after this and the time-out below."""
KEEPALIVE_TIMEOUT_MS = 20_000
NEEDS_RESTART = "changed, and needs a restart"


def bounded_server(calls_max: int = CALLS_MAX, interceptors: Sequence[aio.ServerInterceptor] = ()) -> aio.Server:
    """Return a server with bounds, to which services can be added.

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


class GrpcCertificates:
    """Certificate, key and client authorities of a listener, which can be exchanged while it serves.

    Whether clients need a certificate is decided for good at the start.

    Args:
        table: of the configuration, for messages.

    Raises:
        ConfigError: a file does not work.
    """

    def __init__(self, table: str, tls: ListenerTls) -> None:
        self._table = table
        self._needs_client = tls.client_ca is not None
        self._in_use = self._given = self._read(tls)

    def renew(self, tls: ListenerTls) -> None:
        """Show other certificates, and believe other clients, from the next connection on.

        Raises:
            ConfigError: a file does not work, or clients would need a certificate from now on, or none any more; all stays
                as it was.
        """
        if (tls.client_ca is not None) != self._needs_client:
            raise ConfigError([Problem(path=f"{self._table}.tls.client_ca", message=NEEDS_RESTART)])
        self._in_use = self._read(tls)

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port is opened with; gRPC asks for the certificates at each handshake, on a thread of its own."""
        return grpc.dynamic_ssl_server_credentials(
            self._given,
            self._fetch,  # type: ignore[arg-type]  # None is allowed: as before
            require_client_authentication=self._needs_client,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the certificates if they differ from those that gRPC has; None leaves it with those."""
        if self._in_use is self._given:
            return None
        self._given = self._in_use
        return self._given

    def _read(self, tls: ListenerTls) -> grpc.ServerCertificateConfiguration:
        key, certificate, client_ca = pem_files(self._table, tls)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)


@asynccontextmanager
async def serving_grpc(
    table: str,
    server: aio.Server,
    listener: socket.socket,
    certificates: GrpcCertificates | None = None,
    close_s: float = 1.0,
) -> AsyncIterator[None]:
    """Serve on the address of a bound socket within the context.

    Args:
        table: of the configuration, for messages.
        certificates: None: in plain text.
        close_s: how long calls may go on that are under way at the end; then they are cancelled.

    Raises:
        AddressInUse: somebody took the port in that moment.
    """
    address = address_of(listener)
    listener.close()
    try:
        if certificates is not None:
            server.add_secure_port(address, certificates.credentials())
        else:
            server.add_insecure_port(address)
    except RuntimeError as error:
        raise in_use(table, address) from error
    await server.start()
    try:
        yield
    finally:
        await server.stop(close_s)
