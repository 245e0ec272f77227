"""A day of secrets and certificates that rotate, compressed: under load, without a restart, and nothing is lost."""

import asyncio
import itertools
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from mpsd.config import split_address
from mpsd.demo.broker import ClientListener, KafkaCluster
from tests.integration.world import Answer, Message, Request, World, until
from tests.integration.world.certificates import Certificates
from tests.integration.world.daemon import Daemon
from tests.integration.world.guarded import ROOT, USERS, guarded_cluster, guarded_world, inner_servers

pytestmark = pytest.mark.integration

ROTATIONS = 8
INTERVAL_S = 0.2
TOKENS = '[[tokens]]\nname = "prometheus"\nrole = "viewer"\ntoken = "{}"\n'


class Mounted:
    """A folder of secrets as Kubernetes mounts it: all files are swapped at once, by a symbolic link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = itertools.count()
        self._files: dict[str, bytes] = {}
        folder.mkdir()

    def publish(self, **files: bytes | str) -> None:
        """Replace some of the files, in one step."""
        new = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
        self._files |= new
        version = f"..{next(self._versions)}"
        (self.folder / version).mkdir()
        for name, content in self._files.items():
            (self.folder / version / name).write_bytes(content)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..tmp").symlink_to(version)
        (self.folder / "..tmp").rename(self.folder / "..data")

    def __getitem__(self, name: str) -> str:
        return str(self.folder / name)


class Guard:
    """The application's: accepts one bearer token at a time."""

    def __init__(self) -> None:
        self.token = "token-0"
        self.accepted = 0
        self.refused = 0

    def __call__(self, request: Request) -> Answer:
        if request.headers["authorization"] == f"Bearer {self.token}":
            self.accepted += 1
            return Answer(after_s=0.002)
        self.refused += 1
        return Answer(401, "who are you?")


class Day:
    """A daemon, everything around it that rotates, and a producer."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.guard = Guard()
        world.application.behaviour = self.guard
        self.authority = trustme.CA()
        self.mounted = Mounted(folder / "secrets")
        self.produced = 0
        self.daemon: Daemon
        self.topic = ""
        self.is_over = False

    async def begin(self) -> None:
        issued = self.authority.issue_cert("127.0.0.1", common_name="round-0")
        self.mounted.publish(token="token-0", tokens=TOKENS.format("metrics-00000000"), **pem(issued))
        self.topic = await self.world.create_topic()
        daemon = self.world.begin_daemon(
            self.world.subscription(
                self.topic,
                delivery={
                    "url": self.world.application.url,
                    "auth": {"bearer": {"file": self.mounted["token"]}},
                    "concurrency_max": 16,
                },
            ),
            http={
                "tls": {"cert": self.mounted["cert"], "key": self.mounted["key"]},
                "tokens_file": self.mounted["tokens"],
            },
            admin={"tls": {"cert": self.mounted["cert"], "key": self.mounted["key"]}},
            reload={"interval_s": INTERVAL_S},
        )
        daemon.token, daemon.tls = "metrics-00000000", ssl.create_default_context()
        self.authority.configure_trust(daemon.tls)
        self.daemon = await daemon.ready()

    async def produce(self) -> None:
        """About 300 records a second, of 20 keys, until the day is over."""
        while not self.is_over:
            records = [Message(f"k{number % 20}".encode(), b"x" * 100) for number in range(30)]
            await self.world.produce(self.topic, records)
            self.produced += len(records)
            await asyncio.sleep(0.1)

    async def rotate(self, number: int) -> None:
        """One round: the application refuses the old token before the new one is there, as it is out there."""
        guard, mounted = self.guard, self.mounted
        refused = guard.refused
        guard.token = f"token-{number}"
        await until(lambda: guard.refused > refused, "the old token is refused")
        accepted = guard.accepted
        issued = self.authority.issue_cert("127.0.0.1", common_name=f"round-{number}")
        known = f"metrics-0000000{number}"
        mounted.publish(token=f"token-{number}\n", tokens=TOKENS.format(known), **pem(issued))
        await until(lambda: guard.accepted > accepted + 50, "records are accepted with the new token")
        await until(lambda: self.shows(f"round-{number}"), "the HTTP listener shows the new certificate")
        await until(lambda: self.shows(f"round-{number}", "admin"), "the admin listener shows it, too")
        old, self.daemon.token = self.daemon.token, known

        async def is_known() -> bool:
            return (await self.daemon.get("/metrics"))[0] == 200

        await until(is_known, "the new token of a caller is known")
        self.daemon.token = old
        assert (await self.daemon.get("/metrics"))[0] == 401
        self.daemon.token = known

    async def shows(self, name: str, listener: str = "http") -> bool:
        address = self.daemon.http_address if listener == "http" else self.daemon.admin_address
        host, port = split_address(address)
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if listener == "admin":
            context.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection(host, port, ssl=context)
        subject: Any = writer.get_extra_info("peercert")["subject"]
        writer.transport.abort()
        return (("commonName", name),) in subject

    async def spoil(self) -> None:
        """Break each file in turn, with a SIGHUP in between; deliveries go on."""
        before, kept = self.guard.accepted, dict(self.mounted._files)
        for spoilt in ({"token": ""}, {"key": kept["cert"]}, {"tokens": "nonsense"}):
            self.mounted.publish(**spoilt)
            self.daemon.signal(signal.SIGHUP)
            await asyncio.sleep(3 * INTERVAL_S)
        await until(self.is_broken, "the metrics say that three parts are broken")
        await until(lambda: self.guard.accepted > before + 50, "records are accepted all the same")
        self.mounted.publish(**kept)
        await until(self.is_mended, "all are mended")

    async def is_broken(self) -> bool:
        return (await self.daemon.metrics()).sum("mps_reload_broken") >= 4  # token, tokens, and TLS of two listeners

    async def is_mended(self) -> bool:
        return (await self.daemon.metrics()).sum("mps_reload_broken") == 0


def pem(issued: trustme.LeafCert) -> dict[str, bytes]:
    return {
        "cert": b"".join(blob.bytes() for blob in issued.cert_chain_pems),
        "key": issued.private_key_pem.bytes(),
    }


@pytest.fixture
async def day(world: World, tmp_path: Path) -> AsyncIterator[Day]:
    day = Day(world, tmp_path)
    await day.begin()
    producing = asyncio.create_task(day.produce())
    yield day
    day.is_over = True
    await producing


async def test_a_day_of_rotations_loses_nothing_and_needs_no_restart(day: Day, world: World) -> None:
    pid = day.daemon.pid
    for number in range(1, ROTATIONS + 1):
        await day.rotate(number)
        if number == ROTATIONS // 2:
            await day.spoil()
        day.daemon.signal(signal.SIGHUP)
    day.is_over = True
    await until(lambda: len(world.application.accepted) == day.produced, "all that was produced is accepted")
    await world.settled(day.topic)
    metrics = await day.daemon.metrics()
    assert day.guard.refused >= ROTATIONS
    assert metrics.sum("mps_reloads_total", part="subscriptions[0].delivery", result="renewed") >= ROTATIONS
    assert not await world.dead_letters(day.topic)
    assert await day.daemon.stop() == 0
    assert day.daemon.pid == pid
    assert "token-" not in day.daemon.log_text()
    await world.judge(day.topic)


async def renewed(daemon: Daemon, times: int) -> None:
    """Wait until what Kafka is told was read again so often."""

    async def look() -> bool:
        return (await daemon.metrics()).sum("mps_reloads_total", part="kafka.security", result="renewed") == times

    await until(look, f"the security of Kafka was read again {times} times")


async def test_a_password_of_kafka_is_taken_by_clients_that_run() -> None:
    """A wrong one is noticed when the broker comes back, and the right one then needs no restart."""
    async with guarded_cluster() as cluster, guarded_world(cluster, ROOT) as world:
        secret = Path(world.clients["security"]["password"]["file"])
        topic = await world.create_topic()
        daemon = await world.start_daemon(world.subscription(topic), reload={"interval_s": INTERVAL_S})
        await world.produce(topic, [Message(b"k", b"1")])
        await world.settled(topic)
        right = USERS[ROOT]
        write(secret, "not the password")
        await renewed(daemon, 1)
        await asyncio.to_thread(cluster.stop_node, 1)
        await asyncio.to_thread(cluster.start_node, 1)
        await until(lambda: daemon.said("AuthenticationFailed"), "the daemon says that its password is refused")
        write(secret, right)
        await renewed(daemon, 2)
        await world.produce(topic, [Message(b"k", b"2")])
        await world.settled(topic)
        assert await daemon.stop() == 0
        assert right not in daemon.log_text()
        await world.judge(topic)


async def test_a_certificate_of_kafka_is_taken_by_clients_that_run(tmp_path: Path) -> None:
    """One that the broker does not trust is noticed when the broker comes back, and a new one then needs no restart."""
    made = Certificates(tmp_path)
    client, stranger = (made.authority.issue_cert("mps@example.org"), trustme.CA().issue_cert("mps@example.org"))

    def take(issued: trustme.LeafCert) -> None:
        made.key.write_bytes(pem(issued)["key"])
        made.cert.write_bytes(pem(issued)["cert"])

    listener = ClientListener(protocol="ssl", keystore=made.keystore, client_ca=made.ca)
    async with KafkaCluster(listener=listener) as cluster:
        clients = {"bootstrap_servers": cluster.bootstrap_servers, "security": {"protocol": "ssl", **made.client()}}
        async with World(inner_servers(cluster), clients) as world:
            topic = await world.create_topic()
            daemon = await world.start_daemon(world.subscription(topic), reload={"interval_s": INTERVAL_S})
            await world.produce(topic, [Message(b"k", b"1")])
            await world.settled(topic)
            take(stranger)
            await renewed(daemon, 1)
            await asyncio.to_thread(cluster.stop_node, 1)
            await asyncio.to_thread(cluster.start_node, 1)
            await until(lambda: daemon.said("certificate"), "the daemon says that its certificate is refused")
            await world.produce(topic, [Message(b"k", b"2")])
            take(client)
            await renewed(daemon, 2)
            await world.settled(topic)
            assert await daemon.stop() == 0
            await world.judge(topic)


def write(file: Path, text: str) -> None:
    file.write_text(text)
