"""Topics that change underneath a running daemon: deleted, recreated, enlarged, cut by retention."""

import signal
import time

import pytest
from aiokafka.admin import NewPartitions
from aiokafka.errors import TopicAlreadyExistsError

from tests.faults.figures import Figures
from tests.faults.fleet import PARTITIONS, Fleet, Quiet, lasts
from tests.integration.world import Answer, Message, Request, until

pytestmark = pytest.mark.integration

METADATA_AGE = {"metadata_age_max_ms": 1_000}
GONE_S = 2.0


def numbered(first: int, count: int) -> list[Message]:
    return [Message(f"k{number % 50}".encode(), str(number).encode()) for number in range(first, first + count)]


def taken(fleet: Fleet) -> list[int]:
    """Return the numbers that the application accepts from now on."""
    numbers: list[int] = []
    behaviour = fleet.behaviour

    def note(request: Request) -> Answer | None:
        numbers.append(int(request.record.value or b""))
        return behaviour(request)

    fleet.behaviour = note
    return numbers


@pytest.mark.parametrize("gone_s", [GONE_S, 0.0], ids=["after a while", "at once"])
async def test_a_topic_is_deleted_and_recreated(fleet: Fleet, figures: Figures, gone_s: float) -> None:
    """With `start = "latest"`, as records of a topic that appears must not be taken for old ones."""
    await fleet.create_topic()
    await fleet.start("a", "b", kafka=METADATA_AGE, start="latest")
    await fleet.balanced()
    await fleet.world.produce(fleet.topic, numbered(0, 800))
    await fleet.world.settled(fleet.topic)
    kafka = fleet.world.kafka
    await kafka.admin.delete_topics([fleet.topic])
    with Quiet(*fleet) as quiet:
        if gone_s:
            daemon = fleet["a"]

            async def is_told() -> bool:
                return "is gone" in (await daemon.get("/readyz"))[1]

            await until(is_told, "it says that the topic is gone")
            await lasts(gone_s)
    await until(lambda: recreated(fleet), "the name is free")
    numbers = taken(fleet)
    anew_s = time.monotonic()
    await kafka.produce(fleet.topic, numbered(10_000, 400))
    await until(lambda: len(set(numbers)) == 400, "all of the new topic are delivered", 60.0)
    after_s = time.monotonic() - anew_s
    await fleet.balanced()
    await fleet.world.settled(fleet.topic)
    assert sorted(numbers) == list(range(10_000, 10_400))
    how = f"deleted and recreated {'after a while' if gone_s else 'at once'}, start = latest"
    figures.note(f"topic {how}", records=400, lost=0, again=0, all_delivered_after_s=after_s, **quiet.figures)


async def test_a_topic_recreated_outgrows_the_old_one_unnoticed(fleet: Fleet, figures: Figures) -> None:
    """The new log reaches beyond the offsets read of the old one before the daemon looks again."""
    await fleet.create_topic(1)
    await fleet.start("a")
    await fleet.world.produce(fleet.topic, numbered(0, 100))
    await fleet.world.settled(fleet.topic)
    numbers = taken(fleet)
    kafka = fleet.world.kafka
    fleet["a"].signal(signal.SIGSTOP)
    await kafka.admin.delete_topics([fleet.topic])
    await until(lambda: recreated(fleet, 1), "the name is free")
    await kafka.produce(fleet.topic, numbered(10_000, 300))
    fleet["a"].signal(signal.SIGCONT)
    await until(lambda: len(set(numbers)) == 300, "all of the new topic are delivered")
    await fleet.world.settled(fleet.topic)
    assert fleet["a"].said("was recreated; reading it from its first record")
    again = len(numbers) - len(set(numbers))
    figures.note("topic recreated, and longer than the old one was", records=300, lost=0, again=again)


async def recreated(fleet: Fleet, partitions: int = PARTITIONS) -> bool:
    try:
        await fleet.recreate_topic(partitions)
    except TopicAlreadyExistsError:
        return False
    return True


async def test_partitions_are_added(fleet: Fleet, figures: Figures) -> None:
    """With `start = "latest"`, as records of a topic that appears must not be taken for old ones."""
    await fleet.create_topic()
    await fleet.start("a", "b", kafka=METADATA_AGE, start="latest")
    await fleet.balanced()
    await fleet.world.produce(fleet.topic, numbered(0, 200))
    await fleet.world.application.accepts(200)
    added_s = time.monotonic()
    await fleet.world.kafka.admin.create_partitions({fleet.topic: NewPartitions(PARTITIONS + 2)})

    async def are_there() -> bool:
        return len(await fleet.world.kafka.topics.log_end(fleet.topic)) == PARTITIONS + 2

    await until(are_there, "the broker has made them")
    messages = [
        message._replace(partition=PARTITIONS + number % 2) for number, message in enumerate(numbered(200, 100))
    ]
    await fleet.world.produce(fleet.topic, messages)
    await until(lambda: any(seen.tp.partition >= PARTITIONS for seen in fleet.seen), "they are read")
    found_s = time.monotonic() - added_s
    cost = await fleet.settle()
    figures.note("partitions added, start = latest", **cost, found_after_s=found_s)


@pytest.mark.parametrize("out_of_range", ["earliest", "latest", "stop"])
async def test_retention_overtakes_a_daemon_that_is_down(fleet: Fleet, figures: Figures, out_of_range: str) -> None:
    """One partition loses 100 records of which 10 are left; the other is none the worse."""
    await fleet.create_topic(2)
    both = [message._replace(partition=number % 2) for number, message in enumerate(numbered(0, 20))]
    await fleet.world.produce(fleet.topic, both)
    await fleet.start("a", out_of_range=out_of_range)
    await fleet.world.settled(fleet.topic)
    assert await fleet["a"].stop() == 0
    lost = [message._replace(partition=0) for message in numbered(100, 100)]
    left = [message._replace(partition=0) for message in numbered(200, 10)]
    other = [message._replace(partition=1) for message in numbered(300, 10)]
    await fleet.world.kafka.produce(fleet.topic, lost)
    await fleet.world.kafka.produce(fleet.topic, left)
    await fleet.world.kafka.delete_records(fleet.topic, 0, 110)
    await fleet.world.produce(fleet.topic, other)
    numbers = taken(fleet)
    daemon = fleet.begin("a", out_of_range=out_of_range)
    expected = {300 + number for number in range(10)} | (
        {200 + number for number in range(10)} if out_of_range == "earliest" else set()
    )
    await until(lambda: set(numbers) == expected, "what is there and wanted is delivered")
    passed = {"earliest": 100, "latest": 110, "stop": 0}[out_of_range]
    assert (await daemon.metrics()).sum("mps_lost_offsets_total") == passed
    assert daemon.said("offset 10 is not in the log", f"{passed or 100} offsets are lost")
    status, body = await daemon.get("/readyz")
    assert (status, "out_of_range = stop" in body) == ((503, True) if out_of_range == "stop" else (200, False))
    if out_of_range != "stop":
        await fleet.world.settled(fleet.topic)
    assert set(numbers) == expected
    figures.note(f"offsets out of range, out_of_range = {out_of_range}", passed_over=passed, other_partition_waits="no")
