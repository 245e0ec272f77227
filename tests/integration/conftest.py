"""Fixtures of integration tests beside the broker."""

from collections.abc import AsyncIterator, Iterator

import pytest

from mpsd.demo.broker import KafkaCluster
from tests.integration.world import World
from tests.integration.world.guarded import guarded_cluster


@pytest.fixture
async def world(kafka_bootstrap: list[str]) -> AsyncIterator[World]:
    """Yield a corner of the run's Kafka."""
    async with World(kafka_bootstrap) as world:
        yield world


@pytest.fixture(scope="module")
def guarded_kafka() -> Iterator[KafkaCluster]:
    """See `world.guarded`."""
    with guarded_cluster() as cluster:
        yield cluster
