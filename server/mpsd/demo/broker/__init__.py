"""A real Apache Kafka in the development environment: for `mpsd broker`, the demo, the tests and the benchmarks.

    with KafkaCluster() as cluster:
        print(cluster.bootstrap_servers)

Nothing needs to be installed but the extra: `pip install 'kafka-mps[demo]'` (see `distribution`). A start takes under a second
(see `warmup`), and no broker outlives the process that started it (see `guard`).
"""

from mpsd.demo.broker.cluster import KafkaCluster, external_servers, kafka
from mpsd.demo.broker.command import run_broker_command
from mpsd.demo.broker.errors import BrokerFailed, DemoExtraMissing, DownloadFailed
from mpsd.demo.broker.properties import ClientListener

__all__ = [
    "BrokerFailed",
    "ClientListener",
    "DemoExtraMissing",
    "DownloadFailed",
    "KafkaCluster",
    "external_servers",
    "kafka",
    "run_broker_command",
]
