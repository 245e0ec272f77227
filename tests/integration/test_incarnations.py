"""Topics of one name, one after the other or in two clusters: an application that remembers keys leaves nothing out."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import TopicAlreadyExistsError
from aiokafka.structs import OffsetAndMetadata

from mpsd.core.offset_map import Ignored, OffsetMap
from mpsd.core.record import TopicPartition
from mpsd.demo.broker import KafkaCluster
from mpsd.demo.broker.ports import free_ports
from mpsd.demo.broker.processes import GuardedProcesses
from mpsd.ports import CommitPoint
from mpsd.service.offsets import committed
from tests.docs.blocks import ROOT, blocks
from tests.integration.world import Answer, Message, Request, World, until

pytestmark = pytest.mark.integration

RECORDS = 10
QUICK = {"session_timeout_ms": 2_500, "rebalance_timeout_ms": 2_500}
PATIENT = {"attempts_max": 1_000, "backoff_initial_s": 0.05, "backoff_max_s": 0.1}


class Readme:
    """The application of README.md, as it stands there, behind uvicorn."""

    def __init__(self, processes: GuardedProcesses, directory: Path) -> None:
        (program,) = [
            block.text for block in blocks((ROOT / "README.md").read_text()) if block.words.get("file") == "app.py"
        ]
        (directory / "app.py").write_text(program)
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}/orders"
        self._log = directory / "app.log"
        words = ["-m", "uvicorn", "app:app", "--port", str(port), "--app-dir", str(directory)]
        processes.start("app", [sys.executable, *words], log=self._log)

    def printed(self) -> list[tuple[str, int]]:
        """Return key and number of each order that was worked on, in order."""
        return [
            (found[1], int(found[2]))
            for line in self._log.read_text().splitlines()
            if (found := re.fullmatch(r'(\S+) of \S+: \{"number": (\d+)\}', line))
        ]


@pytest.fixture
def readme(tmp_path: Path) -> Iterator[Readme]:
    with closing(GuardedProcesses()) as processes:
        yield Readme(processes, tmp_path)


@pytest.fixture
async def elsewhere() -> AsyncIterator[World]:
    """Yield a corner of another cluster."""
    cluster = KafkaCluster()
    await asyncio.to_thread(cluster.start)
    try:
        async with World(cluster.bootstrap_servers) as world:
            yield world
    finally:
        await asyncio.to_thread(cluster.stop)


def orders(first: int) -> list[Message]:
    numbers = range(first, first + RECORDS)
    return [Message(b"k%d" % (number % 3), json.dumps({"number": number}).encode()) for number in numbers]


def has_printed(readme: Readme, count: int) -> Callable[[], bool]:
    return lambda: len(readme.printed()) >= count


async def recreate(world: World, topic: str) -> None:
    """Delete the topic and create it again; return when its name is free and taken again."""
    await world.kafka.admin.delete_topics([topic])

    async def is_there() -> bool:
        try:
            await world.create_topic(topic=topic)
        except TopicAlreadyExistsError:
            return False
        return True

    await until(is_there, "the name is free")


async def test_the_app_of_the_readme_works_on_every_record_of_a_recreated_topic(world: World, readme: Readme) -> None:
    topic = await world.create_topic()
    daemon = await world.start_daemon(world.subscription(topic, delivery={"url": readme.url}))
    await world.produce(topic, orders(0))
    await until(has_printed(readme, RECORDS), "all of the first topic are printed")
    await recreate(world, topic)
    await world.kafka.produce(topic, orders(100))
    await until(has_printed(readme, 2 * RECORDS), "all of the new topic are printed", 60.0)
    await world.settled(topic)
    assert await daemon.stop() == 0
    printed = readme.printed()
    assert {number for _, number in printed} == {*range(RECORDS), *range(100, 100 + RECORDS)}
    assert len({key for key, _ in printed}) == len(printed)


async def test_the_app_of_the_readme_works_on_every_record_of_two_clusters(
    world: World, elsewhere: World, readme: Readme
) -> None:
    topic = await world.create_topic()
    await elsewhere.create_topic(topic=topic)
    for first, each in ((0, world), (100, elsewhere)):
        await each.start_daemon(each.subscription(topic, delivery={"url": readme.url}))
        await each.produce(topic, orders(first))
    await world.settled(topic)
    await elsewhere.settled(topic)
    numbers = sorted(number for _, number in readme.printed())
    assert numbers == [*range(RECORDS), *range(100, 100 + RECORDS)]


async def test_a_commit_that_was_copied_from_another_cluster_skips_nothing(world: World, elsewhere: World) -> None:
    """MirrorMaker 2 copies what stands beside a commit as it is."""
    topic = await world.create_topic()
    await elsewhere.create_topic(topic=topic)
    copied = await stuck_commit(world, topic)
    await elsewhere.produce(topic, orders(0))
    await commit(elsewhere, topic, copied)
    daemon = await elsewhere.start_daemon(elsewhere.subscription(topic))
    await elsewhere.settled(topic)
    assert sorted(place.offset for place in elsewhere.application.accepted) == list(range(RECORDS))
    assert daemon.said(topic, "ignored", "another cluster")
    metrics = await daemon.metrics()
    assert metrics.sum("mps_offset_maps_ignored_total", reason="other-cluster") == 1
    await elsewhere.judge(topic)


async def test_a_commit_that_is_left_of_a_topic_of_before_skips_nothing(world: World) -> None:
    """A daemon that is killed between the recreation and its next look leaves one."""
    topic = await world.create_topic()
    left = await stuck_commit(world, topic)
    world.application.accepted.clear()
    await recreate(world, topic)
    await world.kafka.produce(topic, orders(100))
    await commit(world, topic, left)
    (at,) = await committed({"bootstrap_servers": world.kafka.bootstrap_servers}, topic)
    assert at.found is Ignored.OTHER_TOPIC
    daemon = await world.start_daemon(world.subscription(topic, start="latest"), kafka=QUICK)
    await world.settled(topic)
    (at,) = await committed({"bootstrap_servers": world.kafka.bootstrap_servers}, topic)
    assert at.found == OffsetMap((), ())
    assert len(at.topic_id) == 32
    assert sorted(place.offset for place in world.application.accepted) == list(range(RECORDS))
    assert daemon.said(f"{topic}/0", "was recreated", "first record")
    metrics = await daemon.metrics()
    assert metrics.sum("mps_offset_maps_ignored_total", reason="other-topic") == 1
    assert metrics.sum("mps_lost_offsets_total") == 0


async def test_a_producers_key_is_that_of_its_record_in_every_cluster(world: World) -> None:
    topic = await world.create_topic()
    seen: dict[int, str] = {}

    def note(request: Request) -> Answer:
        seen[request.record.offset] = request.headers["idempotency-key"]
        return Answer()

    world.application.behaviour = note
    delivery = {"idempotency_key": "header:order-id"}
    daemon = await world.start_daemon(world.subscription(topic, delivery=delivery))
    headers: list[tuple[tuple[str, bytes], ...]] = [
        (("Order-Id", b"o-1"),),
        (),
        (("order-id", b""),),
        (("order-id", b"x" * 10_240),),
        (("order-id", b"o-2"), ("order-id", b"o-2")),
        (("order-id", b"o 2"),),
    ]
    await world.produce(topic, [Message(b"k", b"{}", each) for each in headers])
    await world.settled(topic)
    assert seen[0] == "o-1"
    assert all(re.fullmatch(rf"[\w-]{{22}}/0/{offset}", key) for offset, key in seen.items() if offset)
    metrics = await daemon.metrics()
    for reason in ("absent", "empty", "too-long", "repeated", "not-visible-ascii"):
        assert metrics.sum("mps_idempotency_fallbacks_total", reason=reason) == 1, reason


async def stuck_commit(world: World, topic: str) -> CommitPoint:
    """Return what is committed when all records but the first are finished, and the daemon is gone."""
    world.application.behaviour = lambda request: Answer() if request.record.offset else Answer(500, "not this one")
    daemon = await world.start_daemon(world.subscription(topic, retry=PATIENT, ordering={"by": "none"}), kafka=QUICK)
    await world.produce(topic, orders(0))
    await world.application.accepts(RECORDS - 1)
    assert await daemon.stop() == 0
    world.application.behaviour = lambda _: Answer()
    found = (await group_commits(world, topic))[TopicPartition(topic, 0)]
    assert found.next_offset == 0
    assert found.metadata.startswith("mps2a")
    return found


async def group_commits(world: World, group: str) -> dict[TopicPartition, CommitPoint]:
    answer: Any = await world.kafka.admin.list_consumer_group_offsets(group)
    return {TopicPartition(*tp): CommitPoint(offset, metadata) for tp, (offset, metadata) in answer.items()}


async def commit(world: World, topic: str, point: CommitPoint) -> None:
    """Commit as a mirroring tool would, while the group has no members."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.kafka.bootstrap_servers, group_id=topic, enable_auto_commit=False
    )
    await consumer.start()
    try:
        tp = ClientPartition(topic, 0)
        consumer.assign([tp])
        await consumer.commit({tp: OffsetAndMetadata(*point)})
    finally:
        await consumer.stop()
