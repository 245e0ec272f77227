"""Sockets that are bound before anything else starts, so that a port in use is an error at once and port 0 is known."""

import errno
import socket
import threading
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from mpsd.config.values import EVERYWHERE, split_address
from mpsd.errors import AddressInUse, AddressUnusable

OUTSIDE = {socket.AF_INET: ("192.0.2.1", 9), socket.AF_INET6: ("2001:db8::1", 9)}
"""Addresses that nobody has, for the route that leads out. Source: RFC 5737 and RFC 3849."""
LOOK_UP_S_MAX = 2.0
BACKLOG = 128
"""Connections that wait until they are accepted; probes that come while the daemon starts are answered then."""


def bind(table: str, listen: str) -> socket.socket:
    """Return a listening socket.

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
    """Return the error for an address that is in use."""
    return AddressInUse(
        f"{table} listener {listen}: address already in use; end the process that listens there, or choose another"
        f" address: listen in [{table}]"
    )


def _unusable(table: str, listen: str, error: OSError) -> AddressUnusable:
    return AddressUnusable(
        f"{table} listener {listen}: {error.strerror or error}; listen in [{table}] must name an address of this machine"
    )


def address_of(listener: socket.socket) -> str:
    """Return the address of a listening socket: `host:port` or `[ipv6]:port`."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def advertised(advertise: str, listener: socket.socket, towards: Sequence[str]) -> str:
    """Return the address that others are told: what is configured, else where it listens.

    A listener on every address is reached at the one by which this host reaches the brokers, because the other members
    reach them too; empty if that is not to be found out.

    Args:
        towards: addresses of brokers, `host:port`.
    """
    if advertise:
        return advertise
    host, port = listener.getsockname()[:2]
    if host not in EVERYWHERE:
        return address_of(listener)
    families = (socket.AF_INET,) if listener.family == socket.AF_INET else (socket.AF_INET, socket.AF_INET6)
    own = own_address(towards, families)
    return (f"[{own}]:{port}" if ":" in own else f"{own}:{port}") if own else ""


def own_address(towards: Sequence[str], families: Collection[int]) -> str:
    """Return the address of this host that packets to the first broker with a known address leave from.

    No packet is sent. Without such a broker, the route to the rest of the world counts; empty if there is none either.
    """
    resolved = _resolved(towards, families)
    for family, target in (*resolved, *((each, OUTSIDE[each]) for each in OUTSIDE if each in families)):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    return ""


def _resolved(towards: Sequence[str], families: Collection[int]) -> Sequence[tuple[int, Any]]:
    """Look the brokers up, in a thread, because a name server that is silent would hold up the start for long."""
    found: list[tuple[int, Any]] = []

    def look_up() -> None:
        for each in towards:
            with suppress(OSError, UnicodeError):
                answers = socket.getaddrinfo(*split_address(each), type=socket.SOCK_DGRAM)
                found.extend((int(family), target) for family, _, _, _, target in answers if family in families)
            if found:
                return

    thread = threading.Thread(target=look_up, name="own address", daemon=True)
    thread.start()
    thread.join(LOOK_UP_S_MAX)
    return tuple(found)
