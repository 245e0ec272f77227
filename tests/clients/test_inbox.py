"""Records that wait for workers, and workers that wait for records."""

import asyncio

from mps_client.inbox import Inbox
from mps_client.testing import record


async def test_a_worker_cancelled_as_it_is_woken_passes_the_record_on() -> None:
    inbox, one = Inbox(), record(key=b"a")
    first, second = asyncio.create_task(inbox.take()), asyncio.create_task(inbox.take())
    await asyncio.sleep(0)
    inbox.put([one])  # wakes the first
    first.cancel()
    assert await asyncio.wait_for(second, 20) is one
    assert first.cancelled()


async def test_a_cancelled_worker_is_not_woken() -> None:
    inbox, one = Inbox(), record()
    first, second = asyncio.create_task(inbox.take()), asyncio.create_task(inbox.take())
    await asyncio.sleep(0)
    first.cancel()
    inbox.put([one])
    assert await asyncio.wait_for(second, 20) is one


async def test_closing_ends_every_worker_and_gives_out_nothing() -> None:
    inbox = Inbox()
    idle = [asyncio.create_task(inbox.take()) for _ in range(3)]
    await asyncio.sleep(0)
    inbox.close()
    inbox.put([record()])
    assert await asyncio.gather(*idle, inbox.take()) == [None] * 4
