"""The cost of a restart: nothing after a clean stop, and a bounded repetition after a kill."""

import signal
from datetime import UTC, datetime

import pytest

from tests.integration.world import NO_ANSWER, Answer, Message, World, keyed, until
from tests.integration.world.maps import until_map_says

pytestmark = pytest.mark.integration

BACKLOG = 4_000
KEYS = 300
WORK = Answer(after_s=0.01)
QUICK = {"session_timeout_ms": 2_500, "rebalance_timeout_ms": 2_500}
"""So that a killed member is soon forgotten."""
REPEATED_S = 1.0
"""Time that a kill may undo: the interval of commits, and what a commit takes on a busy machine."""


def working(world: World) -> None:
    """From now on the application takes its time, so that a daemon can be stopped in full flow."""
    world.application.behaviour = lambda _: WORK


async def test_a_clean_stop_in_full_flow_repeats_nothing(world: World) -> None:
    topic = await world.create_topic(4)
    await world.produce(topic, [keyed(number, KEYS) for number in range(BACKLOG)])
    working(world)
    for part in (BACKLOG // 4, BACKLOG // 2):
        daemon = await world.start_daemon(world.subscription(topic))
        await world.application.accepts(part)
        assert await daemon.stop() == 0
        assert daemon.said("stopped; everything finished is committed")
        assert world.application.in_flight == 0
    assert len(world.application.accepted) < BACKLOG, "it was stopped in full flow"
    daemon = await world.start_daemon(world.subscription(topic))
    await world.settled(topic)
    assert await daemon.stop() == 0
    assert set(world.application.accepted.values()) == {1}
    await world.judge(topic, at_once_min=4)


async def test_a_kill_in_full_flow_loses_nothing_and_repeats_little(world: World) -> None:
    topic = await world.create_topic(4)
    await world.produce(topic, [keyed(number, KEYS) for number in range(BACKLOG)])
    working(world)
    daemon = await world.start_daemon(world.subscription(topic), kafka=QUICK)
    await world.application.accepts(BACKLOG // 3)
    await world.kill(daemon)
    assert len(world.application.accepted) < BACKLOG, "it was killed in full flow"
    daemon = await world.start_daemon(world.subscription(topic), kafka=QUICK)
    await world.settled(topic)
    assert await daemon.stop() == 0
    await world.judge(topic, repeated_s=REPEATED_S, at_once_min=4)


async def test_a_second_signal_does_not_wait(world: World) -> None:
    topic = await world.create_topic()
    world.application.hold_all()
    daemon = await world.start_daemon(world.subscription(topic), kafka=QUICK)
    await world.produce(topic, [Message(b"k", b"one"), Message(b"k", b"two")])
    await until(lambda: world.application.held, "a delivery is in flight")
    daemon.signal(signal.SIGTERM)
    await until(lambda: daemon.said("stopping"), "it waits for the delivery")
    status, _ = await daemon.get("/readyz")
    assert status == 503
    assert daemon.exit_code() is None
    daemon.signal(signal.SIGTERM)
    assert await daemon.ended() == 1
    await until(lambda: not world.application.in_flight, "its connection is cut")
    world.application.heal()
    daemon = await world.start_daemon(world.subscription(topic), kafka=QUICK)
    await world.settled(topic)
    assert set(world.application.accepted.values()) == {1}, "the first delivery had no answer, the others one each"


async def test_deliveries_that_outlast_the_grace_are_cut_off_and_made_again(world: World) -> None:
    topic = await world.create_topic()
    world.application.hold_all()
    daemon = await world.start_daemon(world.subscription(topic), shutdown={"grace_s": 0.3})
    await world.produce(topic, [Message(b"k", b"one"), Message(b"k", b"two")])
    await until(lambda: world.application.held, "a delivery is in flight")
    assert await daemon.stop() == 0
    await until(lambda: not world.application.in_flight, "its connection is cut")
    world.application.heal()
    await world.start_daemon(world.subscription(topic))
    await world.settled(topic)
    await world.judge(topic)
    assert world.application.requests == 3


async def test_latest_loses_nothing_over_a_restart(world: World) -> None:
    topic = await world.create_topic(2)
    await world.kafka.produce(topic, [Message(b"before", b"", partition=number) for number in (0, 1)])
    subscription = world.subscription(topic, start="latest", commit={"interval_s": 60.0})
    daemon = await world.start_daemon(subscription, kafka=QUICK)
    await until(lambda: len(world.committed(topic)) == 2, "where the group begins is committed")
    await daemon.kill()
    after = await world.produce(topic, [Message(b"after", b"", partition=number) for number in (0, 1)])
    await world.start_daemon(world.subscription(topic, start="latest"))
    await world.settled(topic)
    assert len(world.application.accepted) == len(after) == 2
    await world.judge(topic)


async def test_a_partition_that_came_while_nobody_ran_is_read_from_its_first_record(world: World) -> None:
    topic = await world.create_topic(2)
    await world.kafka.produce(topic, [Message(b"before", b"", partition=number) for number in (0, 1)])
    daemon = await world.start_daemon(world.subscription(topic, start="latest"))
    await until(lambda: len(world.committed(topic)) == 2, "where the group begins is committed")
    assert await daemon.stop() == 0
    await world.kafka.add_partitions(topic, 3)
    after = await world.produce(topic, [Message(b"after", b"", partition=number) for number in (0, 2)])
    await world.start_daemon(world.subscription(topic, start="latest"))
    await world.settled(topic)
    assert len(world.application.accepted) == len(after) == 2
    await world.judge(topic)


async def test_members_that_begin_a_group_together_skip_what_is_there(world: World) -> None:
    """The first commits of one are no reason for another to begin at the first record."""
    topic = await world.create_topic(8)
    await world.kafka.produce(topic, [Message(b"before", b"", partition=number) for number in range(8)])
    for _ in range(3):
        world.begin_daemon(world.subscription(topic, start="latest"))
    for daemon in world.daemons:
        await daemon.ready()
    await until(lambda: len(world.committed(topic)) == 8, "where the group begins is committed")
    after = await world.produce(topic, [Message(b"after", b"", partition=number) for number in range(8)])
    await world.settled(topic)
    assert len(world.application.accepted) == len(after)
    await world.judge(topic)


async def test_a_group_can_begin_at_a_time(world: World) -> None:
    topic = await world.create_topic()
    noon = datetime(2024, 2, 29, 12, tzinfo=UTC)
    noon_ms = int(noon.timestamp() * 1000)
    times = (noon_ms - 1, noon_ms, noon_ms + 1)
    sent = await world.kafka.produce(topic, [Message(b"k", b"", timestamp_ms=at_ms) for at_ms in times])
    world.remember(sent[1:])
    await world.start_daemon(world.subscription(topic, start=noon.isoformat().replace("+00:00", "Z")))
    await world.settled(topic)
    await world.judge(topic)
    assert sorted(place.offset for place in world.application.accepted) == [1, 2]


async def test_a_stop_while_it_starts_is_a_clean_one(world: World) -> None:
    topic = await world.create_topic()
    daemon = world.begin_daemon(world.subscription(topic))
    await daemon.serving()
    assert await daemon.stop() == 0
    daemon = await world.start_daemon(world.subscription(topic))
    await world.produce(topic, [Message(b"k", b"one")])
    await world.settled(topic)
    assert await daemon.stop() == 0
    await world.judge(topic)


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
async def test_what_is_finished_behind_a_stuck_record_does_not_come_again(world: World, end: str) -> None:
    topic = await world.create_topic()
    world.application.behaviour = lambda request: NO_ANSWER if request.record.key == b"stuck" else Answer()
    others = [keyed(number, KEYS) for number in range(1_000)]
    daemon = await world.start_daemon(world.subscription(topic), kafka=QUICK, shutdown={"grace_s": 0.5})
    await world.produce(topic, [Message(b"stuck", b"one"), *others, Message(b"stuck", b"two")])
    await world.application.accepts(len(others))
    await until_map_says(world, topic, len(others))
    if end == "SIGTERM":
        assert await daemon.stop() == 0
    else:
        await world.kill(daemon)
    await until(lambda: not world.application.held, "the application has seen that whom it would answer is gone")
    world.application.heal()
    await world.start_daemon(world.subscription(topic), kafka=QUICK)
    await world.settled(topic)
    assert set(world.application.accepted.values()) == {1}
    await world.judge(topic)
