"""The suite runs over every adapter and on both event loops. A new adapter is one more entry of ADAPTERS."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import uvloop

from tests.conformance.batch_harness import BatchHarness
from tests.conformance.deliveries import Settlements
from tests.conformance.harness import AdapterHarness, LeasingHarness
from tests.conformance.pull_harness import PullHarness
from tests.conformance.rest_harness import RestHarness
from tests.conformance.stage import Stage
from tests.conformance.stream_harness import StreamHarness

ADAPTERS: Mapping[str, Callable[[], AdapterHarness]] = {
    "rest": RestHarness,
    "batch": BatchHarness,
    "stream": StreamHarness,
    "pull": PullHarness,
}
LEASING: Mapping[str, Callable[[], LeasingHarness]] = {"stream": StreamHarness, "pull": PullHarness}
"""Adapters whose deliveries are leases."""

Staged = Callable[..., AbstractAsyncContextManager[Stage]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=list(ADAPTERS.values()), ids=list(ADAPTERS))
def staged(request: pytest.FixtureRequest) -> Staged:
    """Return an adapter at work, with its application, for the length of a block."""

    def stage(*, concurrency_max: int = 8, timeout_s: float = 30.0) -> AbstractAsyncContextManager[Stage]:
        return staging(request.param(), concurrency_max, timeout_s)

    return stage


@pytest.fixture(params=list(LEASING.values()), ids=list(LEASING))
def leasing(request: pytest.FixtureRequest) -> Staged:
    """Return an adapter at work whose deliveries are leases."""

    def stage(
        *, concurrency_max: int = 8, lease_s: float = 30.0, total_max_s: float = 3_600.0
    ) -> AbstractAsyncContextManager[Stage]:
        harness: LeasingHarness = request.param()
        harness.lease_total_max_s = total_max_s
        return staging(harness, concurrency_max, lease_s)

    return stage


@asynccontextmanager
async def staging(harness: AdapterHarness, concurrency_max: int, timeout_s: float) -> AsyncIterator[Stage]:
    adapter = await harness.start(concurrency_max=concurrency_max, timeout_s=timeout_s)
    settlements = Settlements()
    staged = Stage(adapter, harness, settlements)
    await adapter.start(staged.on_demand, settlements.settle)
    await harness.ready(adapter)
    try:
        await staged.demanding(concurrency_max)
        yield staged
    finally:
        await adapter.close(0.0)
        await harness.stop()
    assert not settlements.complaints
    assert not settlements.open
