"""What fault tests may ask for."""

from collections.abc import AsyncIterator

import pytest

from mpsd.demo.broker import KafkaCluster
from tests.faults.figures import Figures, Row, table
from tests.faults.fleet import Fleet
from tests.integration.world import World

_ROWS: list[Row] = []


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Notes for the table at the end of the run."""
    node: pytest.Item = request.node
    return Figures(_ROWS, f"{node.path.stem}::{node.name}")


@pytest.fixture
async def fleet(kafka_bootstrap: list[str]) -> AsyncIterator[Fleet]:
    """Daemons that share one group, on the run's Kafka."""
    async with World(kafka_bootstrap) as world:
        yield Fleet(world)


@pytest.fixture
async def replicated(kafka_cluster: KafkaCluster) -> AsyncIterator[Fleet]:
    """The same on three brokers, which the test may stop and freeze."""
    async with World(kafka_cluster.bootstrap_servers) as world:
        yield Fleet(world, replicas=3)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if _ROWS:
        terminalreporter.section("faults and figures")
        for line in table(_ROWS):
            terminalreporter.write_line(line)
