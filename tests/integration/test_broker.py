"""The broker that demo, tests and benchmarks stand on is a real Kafka, and never outlives who started it."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest
import trustme
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from typing_extensions import override

from mpsd.demo.broker import BrokerFailed, ClientListener, KafkaCluster
from mpsd.demo.broker.properties import NodePorts
from mpsd.errors import AddressInUse

pytestmark = pytest.mark.integration


class AllEnded(Protocol):
    def __call__(self, processes: Iterable[psutil.Process], timeout_s: float = 30.0) -> bool: ...


UniqueName = Callable[[str], str]

DEADLINE_S = 60.0
START_BUDGET_S = 10.0  # 0.6 s alone on a machine; this one may have more to do

STARTER = """
import sys
from mpsd.demo.broker import KafkaCluster
cluster = KafkaCluster()
cluster.start()
print(cluster.nodes[1].directory.parent, flush=True)
{then}
"""
COMMAND = "from mpsd.demo.broker import run_broker_command; raise SystemExit(run_broker_command())"


async def create_topic(servers: list[str], topic: str, *, replicas: int = 1, **security: Any) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers, **security)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(topic, 1, replicas, topic_configs={"min.insync.replicas": str(replicas // 2 + 1)})]
        )
    finally:
        await admin.close()


@asynccontextmanager
async def producing(servers: list[str], **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def values_of(servers: list[str], topic: str, count: int) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        return [(await asyncio.wait_for(consumer.getone(), DEADLINE_S)).value for _ in range(count)]
    finally:
        await consumer.stop()


@contextmanager
def python(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run code in a process group of its own, as a terminal would."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    assert len(found) == 2, "the guard and its broker"
    return found


async def test_records_go_in_and_come_out(kafka_bootstrap: list[str], unique_name: UniqueName) -> None:
    topic = unique_name("orders")
    await create_topic(kafka_bootstrap, topic)
    async with producing(kafka_bootstrap) as producer:
        await producer.send_and_wait(topic, b"one")
        await producer.send_and_wait(topic, None, key=b"two")
    assert await values_of(kafka_bootstrap, topic, 2) == [b"one", None]


def test_a_cluster_can_be_started_again_and_leaves_nothing() -> None:
    cluster = KafkaCluster()
    for _ in range(2):
        before_s = time.monotonic()
        with cluster:
            directory = cluster.nodes[1].directory.parent
            assert time.monotonic() - before_s < START_BUDGET_S
        assert not directory.exists()


@pytest.mark.parametrize(
    ("then", "end"),
    [
        ("sys.stdin.read()", lambda process: process.kill()),
        ("sys.stdin.read()", lambda process: process.terminate()),
        ("sys.stdin.read()", lambda process: os.killpg(process.pid, signal.SIGINT)),
        ("raise ValueError", lambda process: None),
        ("", lambda process: None),
    ],
    ids=["kill -9", "SIGTERM", "Ctrl-C", "exception", "end of program"],
)
def test_no_broker_outlives_its_starter(
    then: str, end: Callable[[subprocess.Popen[str]], None], all_ended: AllEnded
) -> None:
    announced = "input();" if then != "sys.stdin.read()" else ""  # so that there is time to look
    code = STARTER.format(then=announced + then)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with process:
        directory = Path(line_of(process))
        assert directory.exists()
        left = descendants(process)
        end(process)
        if announced:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        process.wait(DEADLINE_S)
    assert all_ended(left)
    assert not directory.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stays_until_it_is_asked_to_end(number: signal.Signals, all_ended: AllEnded) -> None:
    with python(COMMAND) as process:
        assert "takes requests at 127.0.0.1:" in line_of(process)
        assert [
            line_of(process).startswith(word) for word in ("in mps.toml:", "with the demo:", "with other tools:")
        ] == [True] * 3
        left = descendants(process)
        os.killpg(process.pid, number)
        assert line_of(process) == "stopped; its data is removed"
        assert process.wait(DEADLINE_S) == 0
    assert all_ended(left)


def test_a_second_ctrl_c_does_not_wait(all_ended: AllEnded) -> None:
    with python(COMMAND) as process:
        line_of(process)
        left = descendants(process)
        guard = psutil.Process(process.pid).children()[0]
        guard.suspend()  # the orderly end now takes for ever
        while process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            all_ended([psutil.Process(process.pid)], 0.1)
        guard.resume()
        assert process.returncode == 130
    assert all_ended(left)


async def test_a_cancelled_start_leaves_nothing(all_ended: AllEnded) -> None:
    before = set(psutil.Process().children(recursive=True))
    cluster = KafkaCluster()
    start = asyncio.create_task(cluster.__aenter__())
    while not (begun := set(psutil.Process().children(recursive=True)) - before):  # noqa: ASYNC110 - a process announces itself to nobody
        await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert all_ended(begun)


async def test_three_nodes_do_without_one(kafka_cluster: KafkaCluster, unique_name: UniqueName) -> None:
    topic, servers = unique_name("orders"), kafka_cluster.bootstrap_servers
    await create_topic(servers, topic, replicas=3)
    async with producing(servers) as producer:
        await producer.send_and_wait(topic, b"all there")
        kafka_cluster.stop_node(2, kill=True)
        with pytest.raises(BrokerFailed, match="node-2 has ended with -9"):
            kafka_cluster.check()
        await asyncio.wait_for(producer.send_and_wait(topic, b"one gone"), DEADLINE_S)
        await asyncio.to_thread(kafka_cluster.start_node, 2)
        await asyncio.to_thread(kafka_cluster.stop_node, 1)
        await asyncio.wait_for(producer.send_and_wait(topic, b"another gone"), DEADLINE_S)
        await asyncio.to_thread(kafka_cluster.start_node, 1)
    kafka_cluster.check()
    assert await values_of(servers, topic, 3) == [b"all there", b"one gone", b"another gone"]


async def test_a_frozen_broker_is_silent_until_it_thaws(unique_name: UniqueName) -> None:
    topic = unique_name("orders")
    async with KafkaCluster() as cluster, producing(cluster.bootstrap_servers) as producer:
        await create_topic(cluster.bootstrap_servers, topic)
        await producer.send_and_wait(topic, b"before")
        cluster.freeze_node(1)
        sending = asyncio.create_task(producer.send_and_wait(topic, b"while frozen"))
        assert not (await asyncio.wait([sending], timeout=0.3))[0]
        cluster.thaw_node(1)
        assert (await asyncio.wait_for(sending, DEADLINE_S)).offset == 1


def test_a_port_can_be_asked_for_but_not_twice() -> None:
    with KafkaCluster() as first:
        port = int(first.bootstrap_servers[0].rpartition(":")[2])
        with pytest.raises(AddressInUse, match=f"127.0.0.1:{port} is in use"):
            KafkaCluster(port=port).start()
    with KafkaCluster(port=port) as second:
        assert second.bootstrap_servers == [f"127.0.0.1:{port}"]


def test_taken_ports_are_replaced_by_others() -> None:
    with KafkaCluster() as first:

        class Unlucky(KafkaCluster):
            choices = iter([first._ports.copy, first._choose_ports])

            @override
            def _choose_ports(self) -> dict[int, NodePorts]:
                return next(self.choices)()

        with Unlucky() as unlucky:
            assert unlucky.bootstrap_servers != first.bootstrap_servers


def test_a_failed_start_says_why_and_leaves_nothing(all_ended: AllEnded) -> None:
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(BrokerFailed, match=r"ended with 1 while it started(.|\n)*num\.network\.threads"):
        KafkaCluster(properties={"num.network.threads": "none"}).start()
    assert all_ended(set(psutil.Process().children(recursive=True)) - before)


async def test_users_have_passwords_and_rights(unique_name: UniqueName) -> None:
    topic = unique_name("orders")
    listener = ClientListener(protocol="sasl_plaintext", users={"alice": "a-1", "bob": "b-1"}, super_users=("alice",))

    def security(user: str, mechanism: str) -> dict[str, Any]:
        login = {"sasl_plain_username": user, "sasl_plain_password": listener.users[user]}
        return {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": mechanism, **login}

    async with KafkaCluster(listener=listener) as cluster:
        await create_topic(cluster.bootstrap_servers, topic, **security("alice", "PLAIN"))
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            async with producing(cluster.bootstrap_servers, **security("alice", mechanism)) as producer:
                await producer.send_and_wait(topic, mechanism.encode())
        async with producing(cluster.bootstrap_servers, **security("bob", "SCRAM-SHA-512")) as producer:
            with pytest.raises(Exception, match=topic) as refusal:
                await producer.send_and_wait(topic, b"from bob")
        assert type(refusal.value).__name__ == "TopicAuthorizationFailedError"


async def test_tls_with_client_certificates(unique_name: UniqueName, tmp_path: Path) -> None:
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    key = load_pem_private_key(server.private_key_pem.bytes(), None)
    keystore, client_ca = tmp_path / "broker.pem", tmp_path / "ca.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    keystore.write_bytes(pem + b"".join(blob.bytes() for blob in server.cert_chain_pems))
    authority.cert_pem.write_to_path(str(client_ca))
    context = ssl.create_default_context(cafile=str(client_ca))
    authority.issue_cert("client@example.org").configure_cert(context)
    listener = ClientListener(protocol="ssl", keystore=keystore, client_ca=client_ca)
    async with KafkaCluster(listener=listener) as cluster:
        security: dict[str, Any] = {"security_protocol": "SSL", "ssl_context": context}
        topic = unique_name("orders")
        await create_topic(cluster.bootstrap_servers, topic, **security)
        async with producing(cluster.bootstrap_servers, **security) as producer:
            await producer.send_and_wait(topic, b"sealed")
