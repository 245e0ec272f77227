"""Ports of the loopback interface that nobody listens on."""

import random
import socket
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"

# Below the ranges from which Linux (32768) and macOS (49152) take the local ports of outgoing connections: a port from
# there can be taken by any client between our choice and the broker's bind, or while a stopped node is to come back.
_LOWEST, _HIGHEST = 15_000, 32_000
_TRIES_PER_PORT = 200


def free_ports(count: int) -> list[int]:
    """Distinct ports that were free a moment ago; who binds one later must be ready to choose again.

    Raises:
        OSError: no free port was found.
    """
    ports: list[int] = []
    rng = random.SystemRandom()
    with ExitStack() as held:  # all are held until the last is found, so that they differ
        for _ in range(count * _TRIES_PER_PORT):
            if len(ports) == count:
                return ports
            candidate = held.enter_context(socket.socket())
            port = rng.randrange(_LOWEST, _HIGHEST)
            try:
                candidate.bind((LOOPBACK, port))
            except OSError:
                continue
            ports.append(port)
    raise OSError(f"no {count} free ports between {_LOWEST} and {_HIGHEST} on {LOOPBACK}")
