"""mpsctl as an operator has it: a process of its own, without a terminal."""

import asyncio
import json
import os
import sys
from typing import Any, NamedTuple

from tests.integration.world.application import Answer
from tests.integration.world.daemon import Daemon
from tests.integration.world.kafka import Message
from tests.integration.world.patience import PATIENCE_S, until
from tests.integration.world.world import World


class Ran(NamedTuple):
    """The end of a run."""

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
    """Run mpsctl, and return the JSON that it prints."""
    ran = await mpsctl(daemon, *words, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


async def with_a_record_in_back_off(world: World, why: str = "") -> tuple[str, Daemon]:
    """Return a topic and its daemon; the first record is refused and waits, so that nothing can be committed.

    Args:
        why: what the application answers.
    """
    world.application.behaviour = lambda request: Answer(500, why) if request.record.key == b"k1" else Answer()
    topic = await world.create_topic(1)
    retry = {"attempts_max": 100, "backoff_initial_s": 5.0, "backoff_max_s": 30.0}
    daemon = await world.start_daemon(world.subscription(topic, retry=retry))
    await world.produce(topic, [Message(b"k1", b"a"), Message(b"k2", b"b")])

    async def waits() -> bool:
        lanes = (await seen(daemon, "inspect", "orders", "--blocked"))["lanes"]
        return any(lane["state"] == "backing-off" for lane in lanes)

    await until(waits, "the record is in back-off")
    return topic, daemon
