"""A broker's `server.properties`, as a pure function of what the cluster is to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mpsd.demo.broker.ports import LOOPBACK

Protocol = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]

_SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_LOGIN = "org.apache.kafka.common.security"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientListener:
    """The listener for clients. Brokers talk among themselves on listeners of their own, in plain text."""

    protocol: Protocol = "plaintext"
    users: Mapping[str, str] = field(default_factory=dict)
    """Name to password, for PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 alike."""
    keystore: Path | None = None
    """PEM file with the private key (PKCS #8, not encrypted) and the certificate chain of the broker, for ssl."""
    client_ca: Path | None = None
    """PEM file; with it every client must show a certificate signed by this authority."""
    super_users: tuple[str, ...] | None = None
    """With it access is controlled: these users may do anything, others only what an ACL allows."""

    def __post_init__(self) -> None:
        if self.is_sasl != bool(self.users):
            raise ValueError("users go with the sasl protocols, and those need at least one")
        if self.is_ssl != bool(self.keystore):
            raise ValueError("a keystore goes with the ssl protocols, and those need it")
        if self.super_users is not None and not self.is_sasl:
            raise ValueError("access control needs users, and so a sasl protocol")

    @property
    def is_sasl(self) -> bool:
        return self.protocol.startswith("sasl")

    @property
    def is_ssl(self) -> bool:
        return self.protocol.endswith("ssl")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePorts:
    """Ports of one node, always on the loopback interface."""

    client: int
    internal: int
    controller: int


def node_properties(
    node: int,
    *,
    ports: Mapping[int, NodePorts],
    log_dir: Path,
    listener: ClientListener,
    overrides: Mapping[str, str],
) -> dict[str, str]:
    """All settings of one node that is broker and controller at once.

    Args:
        node: Kafka's `node.id`, one of the keys of `ports`.
        ports: of every node of the cluster.
        overrides: win over everything else.
    """
    return {
        **_identity(node, ports, log_dir),
        **_replication(len(ports)),
        **_small_and_quick(),
        **_client_security(listener),
        **overrides,
    }


def render(properties: Mapping[str, str]) -> str:
    """Java's properties format: a backslash begins an escape there, and is the only character of ours that needs one."""
    return "".join(f"{key}={value}\n".replace("\\", "\\\\") for key, value in properties.items())


def scram_arguments(users: Mapping[str, str]) -> Sequence[str]:
    """Return the arguments with which `StorageTool format` creates the users before the first start."""
    return [
        argument
        for name, password in users.items()
        for mechanism in _SCRAM
        for argument in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
    ]


def _identity(node: int, ports: Mapping[int, NodePorts], log_dir: Path) -> dict[str, str]:
    own = ports[node]
    reachable = f"CLIENT://{LOOPBACK}:{own.client},INTERNAL://{LOOPBACK}:{own.internal}"
    return {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "log.dirs": str(log_dir),
        "listeners": f"{reachable},CONTROLLER://{LOOPBACK}:{own.controller}",
        "advertised.listeners": reachable,
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(f"{n}@{LOOPBACK}:{p.controller}" for n, p in ports.items()),
    }


def _replication(nodes: int) -> dict[str, str]:
    factor, in_sync = str(nodes), str(nodes // 2 + 1)
    common = {
        "offsets.topic.replication.factor": factor,
        "transaction.state.log.replication.factor": factor,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": factor,
        "share.coordinator.state.topic.min.isr": in_sync,
    }
    failover = {
        "broker.session.timeout.ms": "4000",  # a killed broker is noticed only when this is over
        "broker.heartbeat.interval.ms": "500",
        "controller.quorum.election.timeout.ms": "500",  # every start waits for up to twice this
    }
    return common if nodes == 1 else common | failover


def _small_and_quick() -> dict[str, str]:
    return {
        "auto.create.topics.enable": "false",  # a misspelled topic is an error, not a new topic
        "metadata.max.idle.interval.ms": "0",  # no record twice a second while nothing happens: half of an idle broker's work
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "4",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),  # a quarter of a small heap by default
        "log.initial.task.delay.ms": "1000",  # so that a short log.retention.check.interval.ms is one from the start
    }


def _client_security(listener: ClientListener) -> dict[str, str]:
    names = {"CLIENT": listener.protocol.upper(), "INTERNAL": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
    properties = {"listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in names.items())}
    if listener.is_sasl:
        properties |= _sasl(listener.users)
    if listener.keystore is not None:
        properties |= _pem("listener.name.client.ssl.keystore", listener.keystore)
    if listener.client_ca is not None:
        properties |= _pem("listener.name.client.ssl.truststore", listener.client_ca)
        properties["listener.name.client.ssl.client.auth"] = "required"
    if listener.super_users is not None:
        # ANONYMOUS is who comes by the plain listeners, the brokers themselves.
        principals = ("ANONYMOUS", *listener.super_users)
        properties["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        properties["super.users"] = ";".join(f"User:{name}" for name in principals)
    return properties


def _sasl(users: Mapping[str, str]) -> dict[str, str]:
    accounts = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    prefix = "listener.name.client"
    scram = {f"{prefix}.{m.lower()}.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;" for m in _SCRAM}
    return {
        f"{prefix}.sasl.enabled.mechanisms": ",".join(("PLAIN", *_SCRAM)),
        f"{prefix}.plain.sasl.jaas.config": f"{_LOGIN}.plain.PlainLoginModule required {accounts};",
        **scram,
    }


def _pem(prefix: str, file: Path) -> dict[str, str]:
    return {f"{prefix}.type": "PEM", f"{prefix}.location": str(file.absolute())}
