"""A partition whose offset map might not fit is not read further, says so, and goes on when records settle."""

import asyncio
from collections import Counter

from mpsd.core.metadata_text import Packing
from mpsd.core.offset_map import NO_BOUND, MapSpace, OffsetMap, decode
from mpsd.core.outcome import DELIVERED
from mpsd.core.record import TopicPartition
from mpsd.core.states import DeliveryState
from mpsd.errors import KafkaUnavailable, MetadataTooLarge
from tests.fakes.pipeline import Piped, piped
from tests.fakes.records import FAILED, POISON
from tests.fakes.stage import policy_rules

LITTLE = MapSpace(Packing.ASCII, 160)
PATIENT = policy_rules(attempts_max=1_000, backoff_max_s=1.0)
RECORDS = 2_000


def state(at: Piped) -> str:
    (partition,) = at.pipeline.statistics().partitions
    return partition.state


async def stuck(at: Piped, keys: int, of: int) -> None:
    """Produce records of so many keys, some of which the application never accepts."""
    at.adapter.takes_s = 0.001
    at.adapter.answer = lambda delivery: FAILED if delivery.record.offset % of < keys else DELIVERED
    at.source.assign()
    at.source.produce(*(b"%d" % (number % of) for number in range(RECORDS)))
    await asyncio.sleep(20.0)


async def test_many_stuck_keys_stop_the_reading_and_are_tried_again() -> None:
    async with piped(map_space=LITTLE, rules=PATIENT) as at:
        await stuck(at, keys=1000, of=1000)
        (queue,) = at.queues
        assert len(queue.tracker.unfinished) == queue.tracker.end == LITTLE.worst_bits_max
        assert queue.map_full
        assert state(at) == DeliveryState.ENDPOINT_OUT, "which is worse"
        assert max(Counter(each.offset for each in at.adapter.started).values()) > 1
        at.adapter.answer = lambda _: DELIVERED
        await asyncio.sleep(60.0)
        assert state(at) == "running"
        assert at.committed() == RECORDS


async def test_a_few_stuck_keys_leave_the_flow_as_it_is() -> None:
    async with piped(map_space=LITTLE, rules=PATIENT) as at:
        await stuck(at, keys=1, of=200)
        (queue,) = at.queues
        assert queue.tracker.end == RECORDS
        assert len(queue.tracker.unfinished) == RECORDS // 200
        assert state(at) == "running"
        assert at.committed() == 0


async def test_the_buffer_shrinks_before_the_flow_stops() -> None:
    """Every map of every commit fits meanwhile, though they are as full as they may be."""
    async with piped(map_space=LITTLE, rules=PATIENT) as at:
        await stuck(at, keys=1, of=20)
        (queue,) = at.queues
        assert LITTLE.worst_bits_max < queue.tracker.end < RECORDS
        assert state(at) == DeliveryState.OFFSET_MAP_FULL
        texts = [point.metadata for commit in at.source.commits for point in commit.values()]
        assert LITTLE.units_max // 2 < max(map(len, texts)) <= LITTLE.units_max


async def test_a_broker_that_refuses_the_map_is_asked_with_less_until_it_takes_it() -> None:
    async with piped(map_space=LITTLE._replace(units_max=4_096), rules=PATIENT, commit_interval_s=0.1) as at:
        at.source.commit_error = MetadataTooLarge("too large")
        await stuck(at, keys=1, of=200)
        at.source.commit_error = None
        await asyncio.sleep(1.0)
        assert at.pipeline.maps.space.body_bytes == 0
        assert at.pipeline.pending.map_bits_max == NO_BOUND
        (point,) = at.source.committed.values()
        assert point == (0, "")


async def test_the_limit_of_the_broker_is_known_before_a_map_is_long() -> None:
    """A map that was read for and does not fit would be delivered again after a clean stop."""
    limit = 512
    async with piped(map_space=LITTLE._replace(units_max=4_096), rules=PATIENT, commit_interval_s=1000.0) as at:
        at.source.metadata_max = limit
        await stuck(at, keys=1, of=20)
        assert at.pipeline.maps.space.units_max == limit
        first, *_ = at.source.commits
        assert {len(point.metadata) for point in first.values()} == {limit}, (
            "the first that is taken is of the full length"
        )
        assert await at.pipeline.committer.commit(at.pipeline.pending.queues)
        (point,) = at.source.committed.values()
        found = decode(point.metadata, TopicPartition("orders", 0), point.next_offset, 0, RECORDS)
        assert isinstance(found, OffsetMap)
        assert found.runs[-1].stop == at.queues[0].tracker.end, "nothing that was done is left out"


async def test_attempts_of_what_is_being_dead_lettered_are_committed() -> None:
    async with piped(commit_interval_s=0.1) as at:
        at.sink.refuse = lambda _: KafkaUnavailable("no leader")
        at.adapter.answer = lambda _: POISON
        at.source.assign()
        at.source.produce(b"a")
        await asyncio.sleep(1.0)
        (point,) = at.source.committed.values()
        found = decode(point.metadata, TopicPartition("orders", 0), 0, 0, 1)
        assert found == OffsetMap((), ((0, 1),))
