"""Offset maps beside commits: after a restart only unfinished records come again, and attempts go on."""

import json
import re
from random import Random

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.structs import OffsetAndMetadata

from mpsd.core.offset_map import Ignored, OffsetMap
from mpsd.core.record import TopicPartition
from mpsd.demo.broker import KafkaCluster
from mpsd.kafka.cluster import Cluster
from tests.integration.world import Answer, Daemon, Message, Request, World, keyed, run_mpsd, until
from tests.integration.world.maps import map_of, until_map_says
from tests.integration.world.mpsctl import mpsctl

pytestmark = pytest.mark.integration

STUCK = Message(b"stuck", b"never accepted")
OTHERS = 5_000
MANY = 12_000
QUICK = {"session_timeout_ms": 2_500, "rebalance_timeout_ms": 2_500}
PATIENT = {"attempts_max": 1_000, "backoff_initial_s": 0.05, "backoff_max_s": 0.1}
FAILED = Answer(500, "not this one")


class Stuck:
    """Accepts all but one key, and notes the attempts of that."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.others = 0
        self.enough = 0

    def has_enough(self) -> bool:
        return len(self.attempts) >= self.enough

    def __call__(self, request: Request) -> Answer:
        if request.record.key != STUCK.key:
            self.others += 1
            return Answer()
        self.attempts.append(request.attempt)
        return FAILED


async def is_full(daemon: Daemon) -> bool:
    return (await daemon.metrics()).sum("mps_partition_state", state="offset-map-full") == 1


async def begin(world: World, application: Stuck, packing: str = "ascii") -> tuple[str, Daemon]:
    """Start with a topic of which all but the first record is finished."""
    topic = await world.create_topic()
    world.application.behaviour = application
    subscription = world.subscription(topic, retry=PATIENT, commit={"metadata": packing})
    daemon = await world.start_daemon(subscription, kafka=QUICK)
    await world.produce(topic, [STUCK, *(keyed(number, 100) for number in range(OTHERS)), STUCK])
    await world.application.accepts(OTHERS)
    return topic, daemon


async def test_after_a_kill_only_the_stuck_one_comes_again(world: World) -> None:
    application = Stuck()
    topic, daemon = await begin(world, application)
    await until_map_says(world, topic, OTHERS)
    await until(lambda: len(application.attempts) > 5, "it was tried a few times")
    await world.kill(daemon)
    before, application.attempts = max(application.attempts), []
    daemon = await world.start_daemon(world.subscription(topic, retry=PATIENT), kafka=QUICK)
    await until(lambda: len(application.attempts) > 2, "it is tried again")
    assert application.others == OTHERS, "something finished came again"
    assert 1 < application.attempts[0] <= before + 1, "attempts up to the last commit are remembered"
    world.application.heal()
    await world.settled(topic)
    assert await daemon.stop() == 0
    assert set(world.application.accepted.values()) == {1}
    await world.judge(topic, repeated_s=1.0)


async def test_after_a_clean_stop_attempts_go_on_where_they_were(world: World) -> None:
    application = Stuck()
    topic, daemon = await begin(world, application)
    for _ in range(2):
        application.enough = len(application.attempts) + 4
        await until(application.has_enough, "it was tried a few times")
        assert await daemon.stop() == 0
        daemon = await world.start_daemon(world.subscription(topic, retry=PATIENT), kafka=QUICK)
    await until(lambda: len(application.attempts) > 12, "it is tried again")
    assert application.attempts == list(range(1, len(application.attempts) + 1))
    assert application.others == OTHERS
    world.application.heal()
    await world.settled(topic)
    await world.judge(topic)


async def test_what_another_program_has_committed_is_ignored_and_counted(world: World) -> None:
    topic = await world.create_topic()
    await world.produce(topic, [keyed(number, 10) for number in range(100)])
    await commit(world, topic, 10, "offsets done: 11-99")
    at = await map_of(world, topic)
    assert at is not None
    assert at.found is Ignored.FOREIGN
    daemon = await world.start_daemon(world.subscription(topic))
    await world.settled(topic)
    assert (await daemon.metrics()).sum("mps_offset_maps_ignored_total", reason="foreign") == 1
    assert daemon.said(f"{topic}/0", "offset map", "another program wrote it")
    assert len(world.application.accepted) == 90


async def commit(world: World, group: str, next_offset: int, metadata: str) -> None:
    """Commit as any program may."""
    tp = ClientPartition(group, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.kafka.bootstrap_servers, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([tp])
        await consumer.commit({tp: OffsetAndMetadata(next_offset, metadata)})
    finally:
        await consumer.stop()


async def test_a_broker_that_takes_less_text_gets_less(world: World) -> None:
    """A commit must go through whatever was configured; here runs and attempts need more than 4,096 units."""
    topic = await world.create_topic()
    failing = set(Random(1).sample(range(MANY), MANY // 2))
    world.application.behaviour = lambda request: FAILED if request.record.offset in failing else Answer()
    subscription = world.subscription(
        topic,
        retry={"attempts_max": 1_000, "backoff_initial_s": 60.0, "backoff_max_s": 60.0},
        commit={"metadata_units_max": 10_000},
    )
    await world.produce(topic, [keyed(number, MANY) for number in range(MANY)])
    daemon = await world.start_daemon(subscription, kafka=QUICK)

    async def left_out() -> float:
        return (await daemon.metrics()).sum("mps_offset_map_attempts_left_out")

    await until(left_out, "a map is too large, so that some attempts have no room in it")
    assert daemon.said("larger than the broker allows", "trying with 5000")
    await until(lambda: is_full(daemon), "no more is read than its maps can say")
    assert await daemon.stop() == 0
    at = await map_of(world, topic)
    assert at is not None
    assert at.metadata_units <= 4_096
    assert isinstance(at.found, OffsetMap)
    assert at.found.runs
    assert at.found.attempts
    world.application.heal()
    await world.start_daemon(world.subscription(topic), kafka=QUICK)
    await world.settled(topic)
    assert set(world.application.accepted.values()) == {1}


async def test_decode_offsets_says_it_in_words(world: World) -> None:
    topic, daemon = await begin(world, Stuck(), packing="utf16")
    await until_map_says(world, topic, OTHERS)
    assert await daemon.stop() == 0
    given = ["--group", topic, "--bootstrap", ",".join(world.kafka.bootstrap_servers)]
    code, output, _ = await run_mpsd("decode-offsets", *given)
    assert code == 0
    assert re.search(rf"{topic}/0 \(topic id [0-9a-f]{{32}}\): all below 0 is finished", output)
    assert f"{OTHERS} beyond it too, in 1 run(s): 1-{OTHERS}" in output
    assert "attempts spent: " in output
    code, output, _ = await run_mpsd("decode-offsets", "--config", str(daemon.config), "--json")
    assert code == 0
    said = json.loads(output)
    assert said["group"] == topic
    assert said["partitions"][0]["finished"] == [[1, OTHERS + 1]]
    assert said["partitions"][0]["attempts"][0][0] == 0
    code, _, complaint = await run_mpsd("decode-offsets", "--config", str(daemon.config), "--subscription", "nobody")
    assert code == 2
    assert "none is named nobody" in complaint
    code, output, _ = await run_mpsd("decode-offsets", "--group", f"{topic}-nobody", *given[2:])
    assert (code, output) == (0, f"group {topic}-nobody: nothing is committed\n")


async def test_a_cluster_tells_what_is_committed(world: World) -> None:
    topic = await world.create_topic()
    await commit(world, topic, 7, "text")
    async with Cluster({"bootstrap_servers": world.kafka.bootstrap_servers}) as cluster:
        assert await cluster.committed(topic) == {TopicPartition(topic, 0): (7, "text")}


async def test_a_broker_that_takes_less_text_costs_room_and_repeats_nothing() -> None:
    """The broker's limit is known before a map is long, at each start."""
    with KafkaCluster(properties={"offset.metadata.max.bytes": "512"}) as cluster:
        async with World(cluster.bootstrap_servers) as world:
            topic = await world.create_topic()
            world.application.behaviour = lambda request: FAILED if int(request.record.key or b"1") % 2 else Answer()
            daemon = await world.start_daemon(world.subscription(topic, retry=PATIENT), kafka=QUICK)
            dice = Random(1)
            await world.produce(topic, [Message(b"%d" % dice.randrange(2_000), b"") for _ in range(MANY)])

            await until(lambda: is_full(daemon), "nothing more is read")
            assert "the broker takes 512 units" in (await mpsctl(daemon, "doctor")).out
            assert await daemon.stop() == 0
            done, requests = len(world.application.accepted), world.application.requests
            assert done > 100
            daemon = await world.start_daemon(world.subscription(topic, retry=PATIENT), kafka=QUICK)
            await until(lambda: world.application.requests > requests + 50, "what is stuck is tried again")
            assert set(world.application.accepted.values()) == {1}, "something finished came again"
            world.application.heal()
            await world.settled(topic)
            assert set(world.application.accepted.values()) == {1}
            assert await daemon.stop() == 0
