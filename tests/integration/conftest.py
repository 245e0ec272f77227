"""What integration tests may ask for beside the broker."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.world import World


@pytest.fixture
async def world(kafka_bootstrap: list[str]) -> AsyncIterator[World]:
    """A corner of the run's Kafka."""
    async with World(kafka_bootstrap) as world:
        yield world
