"""The suite runs over every adapter and on both event loops. A new adapter is one more entry of ADAPTERS."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import uvloop

from tests.conformance.deliveries import Settlements
from tests.conformance.harness import AdapterHarness
from tests.conformance.rest_harness import RestHarness
from tests.conformance.stage import Stage

ADAPTERS: Mapping[str, Callable[[], AdapterHarness]] = {"rest": RestHarness}

Staged = Callable[..., AbstractAsyncContextManager[Stage]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=list(ADAPTERS.values()), ids=list(ADAPTERS))
def staged(request: pytest.FixtureRequest) -> Staged:
    """An adapter at work, with its application, for the length of a block."""

    @asynccontextmanager
    async def stage(*, concurrency_max: int = 8, timeout_s: float = 30.0) -> AsyncIterator[Stage]:
        harness: AdapterHarness = request.param()
        adapter = await harness.start(concurrency_max=concurrency_max, timeout_s=timeout_s)
        settlements = Settlements()
        staged = Stage(adapter, harness, settlements)
        await adapter.start(staged.on_demand, settlements.settle)
        try:
            yield staged
        finally:
            await adapter.close(0.0)
            await harness.stop()
        assert not settlements.complaints
        assert not settlements.open

    return stage
