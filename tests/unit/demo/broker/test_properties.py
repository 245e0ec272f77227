"""Properties of brokers."""

from pathlib import Path
from typing import Any

import pytest

from mpsd.demo.broker.properties import ClientListener, NodePorts, node_properties, render, scram_arguments

ONE = {1: NodePorts(client=1001, internal=1002, controller=1003)}
THREE = {n: NodePorts(client=n * 10, internal=n * 10 + 1, controller=n * 10 + 2) for n in (1, 2, 3)}
USERS = {"alice": "wonder"}


def properties_of(
    ports: dict[int, NodePorts],
    node: int = 1,
    *,
    listener: ClientListener | None = None,
    overrides: dict[str, str] | None = None,
) -> dict[str, str]:
    return node_properties(
        node,
        ports=ports,
        log_dir=Path("/data"),
        listener=listener or ClientListener(),
        overrides=overrides or {},
    )


def test_a_single_node_keeps_one_copy_of_everything() -> None:
    properties = properties_of(ONE)
    assert properties["offsets.topic.replication.factor"] == "1"
    assert properties["transaction.state.log.min.isr"] == "1"
    assert properties["auto.create.topics.enable"] == "false"


def test_of_three_nodes_one_may_be_missing() -> None:
    properties = properties_of(THREE, 2)
    assert properties["offsets.topic.replication.factor"] == "3"
    assert properties["transaction.state.log.min.isr"] == "2"
    assert properties["node.id"] == "2"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:12,2@127.0.0.1:22,3@127.0.0.1:32"


def test_every_listener_is_on_the_loopback_interface() -> None:
    addresses = properties_of(ONE)["listeners"].split(",")
    assert [address.split("://")[1].split(":")[0] for address in addresses] == ["127.0.0.1"] * 3


def test_overrides_win() -> None:
    overrides = {"auto.create.topics.enable": "true"}
    assert properties_of(ONE, overrides=overrides)["auto.create.topics.enable"] == "true"


def test_sasl_knows_the_users_by_every_mechanism() -> None:
    properties = properties_of(ONE, listener=ClientListener(protocol="sasl_plaintext", users=USERS))
    assert "CLIENT:SASL_PLAINTEXT" in properties["listener.security.protocol.map"]
    assert 'user_alice="wonder"' in properties["listener.name.client.plain.sasl.jaas.config"]
    assert scram_arguments(USERS)[:2] == ["--add-scram", "SCRAM-SHA-256=[name=alice,password=wonder]"]


def test_with_a_client_ca_clients_must_show_a_certificate() -> None:
    listener = ClientListener(protocol="ssl", keystore=Path("/k.pem"), client_ca=Path("/ca.pem"))
    properties = properties_of(ONE, listener=listener)
    assert properties["listener.name.client.ssl.client.auth"] == "required"
    assert properties["listener.name.client.ssl.keystore.location"] == "/k.pem"


def test_access_control_exempts_the_brokers_and_the_super_users() -> None:
    listener = ClientListener(protocol="sasl_plaintext", users=USERS, super_users=("alice",))
    assert properties_of(ONE, listener=listener)["super.users"] == "User:ANONYMOUS;User:alice"


@pytest.mark.parametrize(
    "contradiction",
    [
        {"protocol": "sasl_plaintext"},
        {"users": USERS},
        {"protocol": "ssl"},
        {"keystore": Path("/k.pem")},
        {"super_users": ("alice",)},
    ],
)
def test_contradictory_security_is_refused(contradiction: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need"):
        ClientListener(**contradiction)


def test_backslashes_are_escaped() -> None:
    assert render({"password": "a\\b"}) == "password=a\\\\b\n"
