"""A Kafka with passwords and rights."""

from mpsd.demo.broker import ClientListener, KafkaCluster
from tests.integration.world.world import World

ROOT, USER = "root", "mps"
USERS = {ROOT: "r00t-secret", USER: "mps-secret"}


def guarded_cluster() -> KafkaCluster:
    """Not started; in it `ROOT` may do anything, and `USER` what it is allowed."""
    return KafkaCluster(listener=ClientListener(protocol="sasl_plaintext", users=USERS, super_users=(ROOT,)))


def guarded_world(
    cluster: KafkaCluster, user: str = USER, *, password: str = "", mechanism: str = "SCRAM-SHA-256"
) -> World:
    """Return a world whose test uses the brokers' unguarded listener, and whose daemons come as a user."""
    secret = cluster.nodes[1].directory / f"{user}.{'wrong' if password else 'right'}"
    secret.write_text(password or USERS[user])
    security = {
        "protocol": "sasl-plaintext",
        "mechanism": mechanism,
        "username": user,
        "password": {"file": str(secret)},
    }
    return World(inner_servers(cluster), {"bootstrap_servers": cluster.bootstrap_servers, "security": security})


def inner_servers(cluster: KafkaCluster) -> list[str]:
    """Return the listeners among brokers: in plain text, and with every right."""
    return [f"127.0.0.1:{ports.internal}" for ports in cluster._ports.values()]
