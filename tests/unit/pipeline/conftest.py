"""Virtual time for each test of the pipeline: a sleep costs nothing, and a deadlock raises at once."""

from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from tests.fakes.pipeline import Piped, piped
from tests.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
async def at() -> AsyncIterator[Piped]:
    """Yield a pipeline of default settings at work."""
    async with piped() as made:
        yield made
