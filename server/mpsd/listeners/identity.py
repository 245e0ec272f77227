"""Names that tell this process and its machine from all others."""

import os
import secrets
import socket
import uuid
from hashlib import blake2s
from pathlib import Path
from typing import NamedTuple

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NETWORK_NAMESPACE = Path("/proc/self/ns/net")
INSTANCE_BYTES = 5
"""Ten characters; among 1,000 processes two draw the same id once in two million fleets."""
NETWORK_BYTES = 5
HOST_CHARACTERS_MAX = 64
"""Every member carries the names of all others in its assignment."""


class Identity(NamedTuple):
    """The identity of a process; see `mpsd.ports.Peer` for the fields."""

    instance: str
    host: str
    network: str


def new_identity() -> Identity:
    """Draw an id for this process and name the machine that it runs on."""
    return Identity(
        secrets.token_hex(INSTANCE_BYTES),
        socket.gethostname()[:HOST_CHARACTERS_MAX],
        network_of(BOOT_ID, NETWORK_NAMESPACE),
    )


def network_of(boot_id: Path, namespace: Path) -> str:
    """Return the id of the network stack that loopback addresses of this process belong to.

    Containers of one machine share its boot id and differ in their network namespace; containers of one pod share both.
    Without these files, as on macOS, the name of the machine and its hardware address stand in.
    """
    try:
        found = f"{boot_id.read_text().strip()} {os.readlink(namespace)}"  # noqa: PTH115 - a link to no path
    except OSError:
        found = f"{socket.gethostname()} {uuid.getnode():x}"
    return blake2s(found.encode(), digest_size=NETWORK_BYTES).hexdigest()
