"""mpsctl as an operator has it: a process of its own, without a terminal."""

import asyncio
import json
import os
import sys
from typing import Any, NamedTuple

from tests.integration.world.daemon import Daemon
from tests.integration.world.patience import PATIENCE_S


class Ran(NamedTuple):
    """How a run ended."""

    code: int
    out: str
    err: str


async def mpsctl(daemon: Daemon | str, *words: str) -> Ran:
    """Run it to its end.

    Args:
        daemon: the one that it calls, or an address.
    """
    address = daemon if isinstance(daemon, str) else daemon.admin_address
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mpsctl", *words),
        env={**os.environ, "MPSCTL_ADDRESS": address},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def seen(daemon: Daemon, *words: str) -> Any:
    """What it prints for programs, where it succeeds."""
    ran = await mpsctl(daemon, *words, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)
