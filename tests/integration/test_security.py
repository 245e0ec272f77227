"""Passwords and certificates, towards Kafka and towards the application."""

from pathlib import Path

import pytest

from mpsd.demo.broker import ClientListener, KafkaCluster
from tests.integration.world import Answer, Application, Message, Request, World, until
from tests.integration.world.certificates import Certificates
from tests.integration.world.guarded import ROOT, guarded_world, inner_servers

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_passwords_by_every_mechanism(guarded_kafka: KafkaCluster, mechanism: str) -> None:
    """SCRAM-SHA-256 is what the tests of permissions use."""
    async with guarded_world(guarded_kafka, ROOT, mechanism=mechanism) as world:
        topic = await world.create_topic()
        world.application.behaviour = lambda request: Answer(422 if request.record.key == b"bad" else 200, "no")
        daemon = await world.start_daemon(world.subscription(topic))
        await world.produce(topic, [Message(b"good", b"1"), Message(b"bad", b"2")])
        await world.settled(topic)
        assert await daemon.stop() == 0
        await world.judge(topic)


async def test_certificates_on_the_way_from_kafka_to_the_application(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    listener = ClientListener(protocol="ssl", keystore=made.keystore, client_ca=made.ca)
    token = tmp_path / "token"
    token.write_text("bearer-secret")
    seen: list[str] = []

    def note(request: Request) -> Answer:
        seen.append(request.headers["authorization"])
        return Answer()

    async with KafkaCluster(listener=listener) as cluster, Application(note, made.server_context()) as application:
        clients = {
            "bootstrap_servers": cluster.bootstrap_servers,
            "security": {"protocol": "ssl", **made.client()},
        }
        async with World(inner_servers(cluster), clients) as world:
            topic = await world.create_topic()
            secure = {"url": application.url, "tls": made.client(), "auth": {"bearer": {"file": str(token)}}}
            daemon = await world.start_daemon(world.subscription(topic, delivery=secure))
            await world.produce(topic, [Message(b"k", b"1"), Message(b"k", b"2")])
            await world.settled(topic)
            assert await daemon.stop() == 0
            assert seen == ["Bearer bearer-secret"] * 2
            assert "bearer-secret" not in daemon.log_text()
            await world.judge(topic, applications=[application])


async def test_an_application_that_cannot_be_trusted_gets_nothing_and_costs_no_attempt(
    world: World, tmp_path: Path
) -> None:
    made = Certificates(tmp_path)
    topic = await world.create_topic()
    async with Application(tls=made.server_context()) as application:
        distrustful = {"url": application.url, "tls": {**made.client(), "ca": str(made.other_ca)}}
        daemon = await world.start_daemon(world.subscription(topic, delivery=distrustful))
        await world.produce(topic, [Message(f"k{number}".encode(), b"") for number in range(5)])

        async def is_open() -> bool:
            return (await daemon.metrics()).sum("mps_breaker_open") == 1

        await until(is_open, "deliveries pause")
        assert daemon.said("the endpoint's certificate is signed by itself")
        assert await daemon.stop() == 0
        assert not application.requests
        await world.start_daemon(world.subscription(topic, delivery={"url": application.url, "tls": made.client()}))
        await world.settled(topic)
        assert not await world.dead_letters(topic)
        await world.judge(topic, applications=[application])
