"""Two hosts on one machine: network namespaces with a cable between them, and no other way out."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from secrets import token_hex

from mpsd.demo.broker.processes import GuardedProcesses
from tests.integration.world import relay

IP = shutil.which("ip")
NETWORK = "10.211.77"
"""Within namespaces of their own: addresses that nobody else can meet."""


def why_not() -> str:
    """Return why this machine cannot have them; empty if it can."""
    if sys.platform != "linux" or IP is None:
        return "network namespaces take Linux and the command ip"
    return "" if os.geteuid() == 0 else "network namespaces take root"


class Host:
    """One of them.

    Attributes:
        address: at which the other one reaches it.
        run: words to put before a command, so that it runs there.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.run: Sequence[str] = (IP or "ip", "netns", "exec", name)


@asynccontextmanager
async def two_hosts(processes: GuardedProcesses, ports: Sequence[int]) -> AsyncIterator[tuple[Host, Host]]:
    """Connect two hosts with each other within the context, and with ports of this machine's loopback.

    Args:
        ports: that listen on 127.0.0.1 here, and are reached at the same number on every address there.
    """
    hosts = tuple(Host(f"mps-{token_hex(3)}", f"{NETWORK}.{number}") for number in (1, 2))
    async with AsyncExitStack() as stack:
        for host in hosts:
            await _ip("netns", "add", host.name)
            stack.push_async_callback(_ip, "netns", "delete", host.name)
        one, other = hosts
        await _ip("-n", one.name, "link", "add", "pod", "type", "veth", "peer", "name", "pod", "netns", other.name)
        for host in hosts:
            await _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "pod")
            for device in ("lo", "pod"):
                await _ip("-n", host.name, "link", "set", device, "up")
        for port in ports:
            path = processes.directory / f"port-{port}"
            await stack.enter_async_context(_leading_to(port, path))
            for host in hosts:
                name = f"relay {host.name} {port}"
                argv = [*host.run, sys.executable, "-P", relay.__file__, str(port), str(path)]
                processes.start(name, argv, log=processes.directory / f"{name}.log")
        yield one, other


@asynccontextmanager
async def _leading_to(port: int, path: Path) -> AsyncIterator[None]:
    """Serve a Unix socket that leads to a port of this machine."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay.relay(reader, writer, lambda: asyncio.open_connection("127.0.0.1", port))

    async with await asyncio.start_unix_server(take, path):
        yield


async def _ip(*words: str) -> None:
    assert IP is not None
    process = await asyncio.create_subprocess_exec(IP, *words, stderr=asyncio.subprocess.PIPE)
    _, complaint = await process.communicate()
    assert process.returncode == 0, f"ip {' '.join(words)}: {complaint.decode()}"
