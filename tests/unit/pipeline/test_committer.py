"""The Committer by itself; what it commits is told in the stories of the pipeline."""

import asyncio

from tests.fakes.pipeline import piped


async def test_it_ends_though_a_commit_is_asked_for_in_the_same_turn() -> None:
    async with piped() as at:
        task = asyncio.create_task(at.pipeline.committer.run())
        await asyncio.sleep(0.05)
        at.pipeline.committer.wake()
        await asyncio.sleep(0)
        task.cancel()
        assert (await asyncio.wait([task], timeout=5.0))[0]
