"""The choice of a Kafka: the one that the environment names, or one of our own."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from mpsd.demo.broker.cluster import KafkaCluster

BOOTSTRAP_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"


def external_servers(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the `host:port` pairs of `KAFKA_BOOTSTRAP_SERVERS`, which commas separate; none if it is not set."""
    return [server.strip() for server in environment.get(BOOTSTRAP_VARIABLE, "").split(",") if server.strip()]


@contextmanager
def kafka(nodes: Literal[1, 3] = 1, *, full_compiler: bool = False) -> Iterator[list[str]]:
    """Yield the bootstrap servers of the external Kafka if there is one, else of a cluster that lives as long as the block."""
    if servers := external_servers():
        yield servers
        return
    with KafkaCluster(nodes, full_compiler=full_compiler) as cluster:
        yield cluster.bootstrap_servers
