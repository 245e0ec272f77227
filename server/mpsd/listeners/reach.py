"""Faults in the addresses that members of a group advertise. Pure."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from mpsd.config.checks import LOOPBACK
from mpsd.config.values import split_address
from mpsd.ports import Peer

HOSTS_SHOWN_MAX = 5
TABLES = ("admin", "http", "stream")
"""Tables of the configuration with a listener, which are fields of `Peer` as well."""


def faults(members: Collection[Peer], table: str = "admin") -> Mapping[Peer, str]:
    """Return what is wrong with the addresses that members advertise for a listener, by member.

    Args:
        members: all, the asking one among them.
        table: one of `TABLES`.
    """
    at = TABLES.index(table)
    by_address: dict[str, list[Peer]] = defaultdict(list)
    networks = {peer.network for peer in members} - {""}
    for peer in sorted(set(members)):
        by_address[peer[at]].append(peer)
    found: dict[Peer, str] = {}
    for address, sharing in by_address.items():
        for peer in sharing:
            if not address:
                found[peer] = _nowhere(peer, table)
            elif is_loopback(address):
                if len(networks) > 1:
                    found[peer] = _loopback(peer, address, members, table)
                elif len(sharing) > 1:
                    found[peer] = _shared(peer, address, sharing, table)
            elif len(sharing) > 1:
                found[peer] = _shared(peer, address, sharing, table)
    return found


def is_loopback(address: str) -> bool:
    """Return True for an address that only programs of the same host reach."""
    try:
        return LOOPBACK.fullmatch(split_address(address)[0]) is not None
    except ValueError:  # another member's word
        return False


def reachable(peer: Peer, address: str, from_network: str) -> bool:
    """Return False for no address, and for a loopback address of another host."""
    return bool(address) and (peer.network == from_network or not is_loopback(address))


def name_of(peer: Peer) -> str:
    """Format who it is for people, without the address that is in question."""
    return f"daemon {peer.instance or 'without an id'} on host {peer.host or 'unknown'}"


def _nowhere(peer: Peer, table: str) -> str:
    others = ", ".join(f"{other} {peer[at]}" for at, other in enumerate(TABLES) if peer[at])
    return (
        f"{name_of(peer)}{f' ({others})' if others else ''} advertises no address of its {table} listener, so no other"
        f" daemon can ask it: set advertise in [{table}] there to an address that the others reach"
    )


def _loopback(peer: Peer, address: str, members: Collection[Peer], table: str) -> str:
    others = sorted({other.host or "unknown" for other in members if other.network not in {"", peer.network}})
    return (
        f"{name_of(peer)} advertises {address} as its {table} listener, which no other host reaches, and members run on"
        f" {_hosts(others)} as well: set listen in [{table}] there to an address of the host, or advertise to one that"
        " leads to it"
    )


def _shared(peer: Peer, address: str, sharing: Sequence[Peer], table: str) -> str:
    others = [name_of(other) for other in sharing if other != peer]
    return (
        f"{name_of(peer)} advertises {address} as its {table} listener, and so does {_hosts(others)}: set advertise in"
        f" [{table}] of each daemon to an address that leads to it alone"
    )


def _hosts(names: Sequence[str]) -> str:
    more = f" and {len(names) - HOSTS_SHOWN_MAX} more" if len(names) > HOSTS_SHOWN_MAX else ""
    return ", ".join(names[:HOSTS_SHOWN_MAX]) + more
