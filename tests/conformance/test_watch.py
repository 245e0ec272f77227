"""Waits of the conformance tests end whether or not anybody tells of the change."""

import asyncio

import pytest

from tests.conformance.watch import Watch


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_change_ends_the_wait(is_told: bool) -> None:
    watch, seen = Watch(), []

    def change() -> None:
        seen.append(1)
        if is_told:
            watch.changed()

    asyncio.get_running_loop().call_later(0.01, change)
    await watch.until(lambda: bool(seen))
    assert seen
