"""Fixtures of fault tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mpsd.demo.broker import ClientListener, KafkaCluster
from mpsd.demo.broker.ports import LOOPBACK, free_ports
from tests.faults.figures import Figures
from tests.faults.fleet import Fleet
from tests.faults.proxy import Proxy
from tests.integration.world import World


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Return the notes for the table at the end of the run."""
    node: pytest.Item = request.node
    return Figures(node.user_properties, f"{node.path.stem}::{node.name}")


@pytest.fixture
async def fleet(kafka_bootstrap: list[str]) -> AsyncIterator[Fleet]:
    """Daemons that share one group, on the run's Kafka."""
    async with World(kafka_bootstrap) as world:
        yield Fleet(world)


@pytest.fixture
async def replicated(kafka_cluster: KafkaCluster) -> AsyncIterator[Fleet]:
    """Yield a fleet on three brokers, which the test may stop and freeze."""
    async with World(kafka_cluster.bootstrap_servers) as world:
        yield Fleet(world, replicas=3)


class Guarded(NamedTuple):
    """A broker in which access is controlled, and which clients reach only by way of a port of ours.

    Attributes:
        own: where the test's own hand comes, unguarded and directly.
        port: what the broker advertises.
        listener: where it listens for what comes by that port.
    """

    own: str
    port: int
    listener: int
    secret: Path


@pytest.fixture(scope="module")
def guarded_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Yield a guarded Kafka, whose user for daemons is `mps`."""
    password = "a password"
    listener = ClientListener(protocol="sasl_plaintext", users={"root": "r", "mps": password}, super_users=("root",))
    proxy, client, internal, controller = free_ports(4)
    ours = {
        "listeners": f"CLIENT://{LOOPBACK}:{client},INTERNAL://{LOOPBACK}:{internal},CONTROLLER://{LOOPBACK}:{controller}",
        "advertised.listeners": f"CLIENT://{LOOPBACK}:{proxy},INTERNAL://{LOOPBACK}:{internal}",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
    }
    secret = tmp_path_factory.mktemp("secret") / "mps"
    secret.write_text(password)
    with KafkaCluster(listener=listener, properties=ours):
        yield Guarded(f"{LOOPBACK}:{internal}", proxy, client, secret)


@pytest.fixture
async def proxy(guarded_kafka: Guarded) -> AsyncIterator[Proxy]:
    """Yield the daemons' only way to the guarded broker."""
    async with Proxy(guarded_kafka.port, guarded_kafka.listener) as proxy:
        yield proxy


@pytest.fixture
async def guarded(guarded_kafka: Guarded, proxy: Proxy) -> AsyncIterator[Fleet]:
    """Daemons that come as a user, by way of the proxy."""
    security = {
        "protocol": "sasl-plaintext",
        "mechanism": "PLAIN",
        "username": "mps",
        "password": {"file": str(guarded_kafka.secret)},
    }
    servers = [f"{LOOPBACK}:{guarded_kafka.port}"]
    async with World([guarded_kafka.own], {"bootstrap_servers": servers, "security": security}) as world:
        yield Fleet(world, user="mps")
