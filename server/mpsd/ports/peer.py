"""The address card of an instance."""

from typing import NamedTuple


class Peer(NamedTuple):
    """An instance of `mpsd`, described by itself for the other members of its groups.

    Attributes:
        admin: `host:port` of its admin listener, empty if nobody can reach it; `http` and `stream` likewise.
        instance: the id of its process, chosen at random at the start; no two processes share one.
        host: name of its machine, for people.
        network: id of the network stack that its loopback addresses belong to; empty if unknown.
    """

    admin: str
    http: str
    stream: str
    instance: str = ""
    host: str = ""
    network: str = ""


NOWHERE = Peer("", "", "")
