"""Taking an address before anything else starts, so that a port in use is an error at once and port 0 is known."""

import errno
import socket

from mpsd.config.values import split_address
from mpsd.errors import AddressInUse, AddressUnusable

EVERYWHERE = ("0.0.0.0", "::")
BACKLOG = 128
"""Connections that wait until they are accepted; probes that come while the daemon starts are answered then."""


def bind(table: str, listen: str) -> socket.socket:
    """A listening socket.

    Args:
        table: of the configuration, for messages: `admin`, `http`, `stream`.
        listen: `host:port` or `[ipv6]:port`; port 0 is a free one; `[::]` takes IPv4 as well.

    Raises:
        AddressInUse: another process listens there.
        AddressUnusable: anything else that keeps the address from being taken.
    """
    host, port = split_address(listen)
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _unusable(table, listen, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(target)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise in_use(table, listen) if error.errno == errno.EADDRINUSE else _unusable(table, listen, error) from error
    listener.setblocking(False)
    return listener


def in_use(table: str, listen: str) -> AddressInUse:
    """The error for an address that somebody else has."""
    return AddressInUse(
        f"{table} listener {listen}: address already in use; end the process that listens there, or choose another"
        f" address: listen in [{table}]"
    )


def _unusable(table: str, listen: str, error: OSError) -> AddressUnusable:
    return AddressUnusable(
        f"{table} listener {listen}: {error.strerror or error}; listen in [{table}] must name an address of this machine"
    )


def address_of(listener: socket.socket) -> str:
    """Where it really listens, `host:port` or `[ipv6]:port`."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def advertised(advertise: str, listener: socket.socket) -> str:
    """What others are told: what is configured, else where it listens; empty where that is every address there is."""
    if advertise:
        return advertise
    return "" if listener.getsockname()[0] in EVERYWHERE else address_of(listener)
