"""A failing key must not fill its partition: it gets fewer attempts once what is behind it takes a quarter of the room."""

import asyncio
from dataclasses import replace

from mpsd.core.outcome import DELIVERED
from tests.fakes.records import FAILED
from tests.fakes.stage import Stage, policy_rules

PATIENT = replace(
    policy_rules(attempts_max=9, backoff_initial_s=10.0, backoff_max_s=1_000.0, failing_key_after=0),
    crowding_attempts_max=2,
)


async def crowded(*keys: bytes, records_max: int = 20) -> tuple[Stage, int]:
    """Return a partition whose first lane fails, and the number of records it took."""
    stage = Stage(PATIENT, records_max=records_max)
    stage.adapter.answer = lambda delivery: FAILED if delivery.record.key == b"bad" else DELIVERED
    await stage.writer.start()
    return stage, stage.read(stage.open(), *keys)


def is_first_crowding(stage: Stage) -> bool:
    (queue,) = stage.pending.queues.values()
    oldest = queue.tracker.oldest()
    assert oldest is not None
    return stage.pending.is_crowding(queue, oldest)


async def test_a_lane_crowds_only_where_its_partition_is_half_full_and_a_quarter_of_the_room_is_behind_its_head() -> (
    None
):
    for keys, expected in (
        ([b"bad"] * 6, False),  # the lane has a quarter, and the partition is not half full
        ([b"bad"] * 5 + [b"good"] * 10, False),  # four of twenty are behind the head
        ([b"bad"] * 6 + [b"good"] * 10, True),
        ([b"bad"] + [b"good"] * 15, False),
    ):
        stage, _ = await crowded(*keys)
        assert is_first_crowding(stage) is expected


async def test_bytes_crowd_as_records_do() -> None:
    stage = Stage(PATIENT, bytes_max=20)
    stage.read(stage.open(), *[b"bad"] * 6, *[b"good"] * 10)
    assert not is_first_crowding(stage), "one record alone fills so few bytes, and nothing is behind it"
    stage = Stage(PATIENT, bytes_max=10_000)
    taken = stage.read(stage.open(), *[b"bad"] * 100)
    assert 10 < taken < 100
    assert is_first_crowding(stage)


async def test_a_crowding_key_is_given_up_early_and_the_others_flow() -> None:
    stage, _ = await crowded(*[b"bad"] * 20)
    (queue,) = stage.pending.queues.values()
    await asyncio.sleep(60.0)
    assert [offset for offset, _ in stage.entry][:3] == [0, 1, 2]
    assert len(stage.adapter.times(0)) == 2
    stage.read(queue, *[b"good"] * 5)
    await asyncio.sleep(1_000.0)
    assert queue.tracker.next_offset > 5


async def test_a_full_partition_ends_the_long_back_off_of_the_key_that_fills_it() -> None:
    stage, _ = await crowded(b"bad")
    (queue,) = stage.pending.queues.values()
    await asyncio.sleep(100.0)
    tries = len(stage.adapter.times(0))
    assert tries >= 3
    begin_s = stage.monotonic_s()
    assert stage.read(queue, *[b"bad"] * 40) == 19
    await stage.adapter.until(lambda: bool(stage.entry))
    assert stage.entry[0] == (0, "attempts-exhausted")
    assert stage.monotonic_s() - begin_s < 1.0, "its back-off would have lasted for a minute more"


async def test_a_partition_full_of_others_leaves_a_failing_key_its_attempts() -> None:
    stage, _ = await crowded(b"bad")
    (queue,) = stage.pending.queues.values()
    await asyncio.sleep(1.0)
    stage.adapter.answer = lambda delivery: FAILED if delivery.record.key == b"bad" else None
    assert stage.read(queue, *[b"%d" % number for number in range(40)]) == 19
    await asyncio.sleep(15.0)
    assert stage.entry == []
    assert len(stage.adapter.times(0)) == 2
