"""A dead-letter topic read back: bounded, in turns, over holes, past retention, and gone."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from aiokafka.consumer.fetcher import PartitionRecords

from mpsd.core.record import LogBounds
from mpsd.errors import DeadLetterTopicGone
from mpsd.kafka.dead_letter_log import KafkaDeadLetterLog
from mpsd.pipeline.replay.scan import DeadLetterScan
from mpsd.ports import DeadLetterLog
from tests.integration.world import Answer, Message, World
from tests.integration.world.world import name

pytestmark = pytest.mark.integration


def log_of(world: World, topic: str) -> KafkaDeadLetterLog:
    return KafkaDeadLetterLog(topic, {"bootstrap_servers": world.kafka.bootstrap_servers, "client_id": "test"})


async def parts(
    log: DeadLetterLog, partition: int, start: int, stop: int, records_max: int = 500
) -> AsyncIterator[list[int]]:
    """Yield the offsets below `stop` that each fetch brings."""
    at = start
    while at < stop:
        part = await log.fetch(partition, at, records_max)
        at = part.next_offset
        yield [record.offset for record in part.records if record.offset < stop]


async def offsets(log: DeadLetterLog, partition: int, start: int, stop: int, records_max: int = 500) -> list[int]:
    return [offset async for part in parts(log, partition, start, stop, records_max) for offset in part]


async def test_parts_of_several_partitions_are_read_in_turns(world: World) -> None:
    topic = await world.create_topic(2)
    await world.kafka.produce(topic, [Message(b"k", b"", partition=number % 2) for number in range(2_000)])
    log = log_of(world, topic)
    assert await log.bounds() == {0: (0, 1_000), 1: (0, 1_000)}
    assert await offsets(log, 0, 0, 1_000, 100) == list(range(1_000))
    one, other = parts(log, 0, 10, 700, 90), parts(log, 1, 20, 1_000, 110)
    got: dict[int, list[int]] = {0: [], 1: []}
    for _ in range(7):
        for partition, reading in ((0, one), (1, other)):
            got[partition] += await anext(reading, [])
    assert got[0] == list(range(10, 10 + len(got[0])))
    assert got[1] == list(range(20, 20 + len(got[1])))
    assert min(map(len, got.values())) > 500
    await log.close()
    assert await offsets(log, 1, 998, 1_000) == [998, 999], "it connects again"
    await log.close()


async def test_what_was_fetched_and_is_not_wanted_any_more_is_dropped(world: World) -> None:
    """The library's fetches hold themselves until they are used up, and a daemon's garbage collector seldom looks."""
    topic = await world.create_topic(2)
    await world.kafka.produce(topic, [Message(b"k", bytes(2_000), partition=n % 2) for n in range(4_000)])
    log = log_of(world, topic)
    gc.collect()
    gc.disable()
    try:
        for number in range(40):
            assert (await log.fetch(number % 2, number * 20, 10)).next_offset == number * 20 + 10
        await asyncio.sleep(0.3)  # whatever is fetched ahead has come
        held = [each for each in gc.get_objects() if isinstance(each, PartitionRecords)]
        assert len(held) <= 2
    finally:
        gc.enable()
        await log.close()


async def test_what_retention_has_taken_is_passed_over(world: World) -> None:
    topic = await world.create_topic()
    await world.kafka.produce(topic, [Message(b"k", b"") for _ in range(10)])
    log = log_of(world, topic)
    assert (await log.fetch(0, 0, 2)).next_offset == 2
    await world.kafka.delete_records(topic, 0, 7)
    assert await log.bounds() == {0: (7, 10)}
    assert await offsets(log, 0, 0, 10) == [7, 8, 9]
    await log.close()


async def test_a_topic_that_is_gone_or_recreated_is_said_to_be(world: World) -> None:
    with pytest.raises(DeadLetterTopicGone, match="is not there"):
        await log_of(world, name("never")).bounds()
    topic = await world.create_topic()
    await world.kafka.produce(topic, [Message(b"k", b"") for _ in range(10)])
    log = log_of(world, topic)
    assert await offsets(log, 0, 0, 5) == [0, 1, 2, 3, 4]
    await world.kafka.topics.delete([topic])
    with pytest.raises(DeadLetterTopicGone):
        await offsets(log, 0, 10, 20)
    await world.create_topic(topic=topic)
    with pytest.raises(DeadLetterTopicGone, match="recreated"):
        await offsets(log, 0, 5, 10)
    await log.close()


async def test_dead_letters_of_a_daemon_are_read_as_such(world: World) -> None:
    topic = await world.create_topic()
    world.application.behaviour = lambda _: Answer(422, "no such customer")
    await world.start_daemon(world.subscription(topic))
    await world.produce(topic, [Message(b"k", b"v", [("h", b"1")])])
    await world.settled(topic)
    log = log_of(world, f"{topic}.dlq")
    (part,) = [part async for part in DeadLetterScan(log, 0, LogBounds(0, 1), {"orders"}) if part.dead_letters]
    (found,) = part.dead_letters
    assert (found.source, found.source_offset, found.status) == ((topic, 0), 0, 422)
    assert list(found.headers) == [("h", b"1")]
    assert "no such customer" in found.reason
    await log.close()
