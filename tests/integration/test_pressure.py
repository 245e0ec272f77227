"""An application that is slow, stuck, or ill for one key or one subscription: who waits, who does not, and what it costs."""

import time
from collections import Counter

import pytest

from mpsd.demo.guarantees.events import DeliveryEnded
from tests.integration.world import Answer, Application, Daemon, Message, Metrics, Request, World, keyed, until

pytestmark = pytest.mark.integration

RECORDS_MAX = 400
VALUE = bytes(1_000)


async def test_a_stuck_application_fills_the_queue_and_nothing_else(world: World) -> None:
    topic = await world.create_topic(2)
    world.application.hold_all()
    subscription = world.subscription(topic, pending={"records_max": RECORDS_MAX})
    quick = {"session_timeout_ms": 1_500, "rebalance_timeout_ms": 1_500, "heartbeat_interval_ms": 100}
    daemon = await world.start_daemon(subscription, kafka=quick)
    await world.produce(topic, [Message(f"k{n}".encode(), VALUE, partition=n % 2) for n in range(4 * RECORDS_MAX)])
    await until(lambda: pending(daemon, 2 * RECORDS_MAX), "both partitions are full")
    before_mib, before = daemon.rss_mib(), await daemon.metrics()
    full_s = time.monotonic()
    for _ in range(10):
        await world.produce(topic, [Message(f"k{n}".encode(), VALUE, partition=n % 2) for n in range(1_000)])
    await until(lambda: time.monotonic() - full_s > 2.0, "more than a session has passed")
    after = await daemon.metrics()
    assert daemon.rss_mib() < before_mib + 20, "10,000 records more, and memory is flat"
    assert after.all("mps_partition_pending_records") == [RECORDS_MAX] * 2
    assert after.sum("mps_in_flight_records") == world.application.held == 64
    assert epochs(after) == epochs(before), "heartbeats went on: no rebalance"
    assert (await daemon.get("/healthz"))[0] == (await daemon.get("/readyz"))[0] == 200
    world.application.heal()
    await world.settled(topic)
    after = await daemon.metrics()
    assert after.sum("mps_partition_lag_records") == 0
    assert epochs(after) == epochs(before)
    assert await daemon.stop() == 0
    assert set(world.application.accepted.values()) == {1}
    await world.judge(topic, at_once_min=2)


async def pending(daemon: Daemon, count: int) -> bool:
    return (await daemon.metrics()).sum("mps_partition_pending_records") == count


def epochs(metrics: Metrics) -> list[float]:
    return metrics.all("mps_partition_epoch")


async def test_a_slow_application_is_kept_busy_and_asked_for_no_more(world: World) -> None:
    topic = await world.create_topic(2)
    most = 0

    def slow(_: Request) -> Answer:
        nonlocal most
        most = max(most, world.application.in_flight)
        return Answer(after_s=0.1)

    world.application.behaviour = slow
    await world.start_daemon(world.subscription(topic, delivery={"concurrency_max": 20}, pending={"records_max": 50}))
    await world.produce(topic, [keyed(number, 200) for number in range(300)])
    await world.settled(topic)
    assert most == 20
    await world.judge(topic, at_once_min=2)


async def test_a_key_that_always_fails_does_not_stop_the_others(world: World) -> None:
    """A tenth of the records, and a backlog of ten times what may be pending."""
    topic = await world.create_topic()
    backlog = [Message(b"sick" if n % 10 == 0 else f"k{n % 50}".encode(), b"") for n in range(10 * RECORDS_MAX)]
    sick = sum(message.key == b"sick" for message in backlog)
    world.application.behaviour = lambda request: Answer(500 if request.record.key == b"sick" else 200, "no")
    daemon = await world.start_daemon(world.subscription(topic, pending={"records_max": RECORDS_MAX}))
    await world.produce(topic, backlog)
    await world.application.accepts(len(backlog) - sick)
    await world.settled(topic)
    assert (await daemon.metrics()).sum("mps_dead_letters_total", disposition="attempts-exhausted") == sick
    assert world.application.requests < len(backlog) + 6 * 5, "only the first few had several attempts"
    await world.judge(topic)


async def test_a_dead_endpoint_of_one_subscription_leaves_the_other_alone(world: World) -> None:
    alive, dead = await world.create_topic(2), await world.create_topic(2)
    records = [keyed(number, 200) for number in range(4_000)]
    async with Application() as gone:
        await gone.go_away()
        daemon = await world.start_daemon(
            world.subscription(alive, name="alive"),
            world.subscription(dead, name="dead", delivery={"url": gone.url}),
        )
        await world.produce(dead, records[:400])
        await until(lambda: breaker(daemon, "dead"), "its deliveries pause")
        await world.produce(alive, records)
        await world.settled(alive)
        metrics = await daemon.metrics()
        assert metrics.sum("mps_breaker_open", subscription="alive") == 0
        assert metrics.sum("mps_dead_letters_total") == metrics.sum("mps_retries_total") == 0
        assert (await daemon.get("/readyz"))[0] == 200
        await gone.come_back()
        await world.settled(dead)
        assert await daemon.stop() == 0
        await world.judge(alive)
        await world.judge(dead, applications=[gone])


async def breaker(daemon: Daemon, subscription: str) -> bool:
    return (await daemon.metrics()).sum("mps_breaker_open", subscription=subscription) == 1


async def test_a_hot_partition_and_a_hot_key_starve_nobody(world: World) -> None:
    topic = await world.create_topic(4)
    world.application.behaviour = lambda _: Answer(after_s=0.005)
    hot = [Message(b"hot" if n % 2 else f"k{n % 40}".encode(), b"", partition=0) for n in range(800)]
    rare = [Message(f"k{n}".encode(), b"", partition=1 + n % 3) for n in range(90)]
    await world.produce(topic, hot)
    await world.produce(topic, rare)
    await world.start_daemon(world.subscription(topic, delivery={"concurrency_max": 8}, pending={"records_max": 500}))
    await world.settled(topic)
    order = [event.record.partition for event in world.application.events if isinstance(event, DeliveryEnded)]
    hot_by_then = Counter(order[: max(n for n, partition in enumerate(order) if partition)])[0]
    assert hot_by_then < 2 * len(rare), "while the others had theirs, the hot partition had its share and no more"
    await world.judge(topic, at_once_min=4)


async def test_a_key_in_back_off_gives_its_slot_away(world: World) -> None:
    topic = await world.create_topic()
    world.application.behaviour = lambda request: (
        Answer(500, "no") if request.attempt == 1 and (request.record.key or b"").startswith(b"ill") else Answer()
    )
    patient = {"backoff_initial_s": 30.0, "backoff_max_s": 60.0}
    daemon = await world.start_daemon(world.subscription(topic, delivery={"concurrency_max": 2}, retry=patient))
    await world.produce(
        topic, [*(Message(f"ill{n}".encode(), b"") for n in range(10)), *(keyed(n, 5) for n in range(100))]
    )
    await world.application.accepts(100)
    metrics = await daemon.metrics()
    assert metrics.sum("mps_backing_off_lanes") + len(world.application.accepted) >= 110 - 2
    assert metrics.sum("mps_retries_total") == 10


async def test_memory_does_not_remember_keys(world: World) -> None:
    topic = await world.create_topic()
    daemon = await world.start_daemon(world.subscription(topic))
    sizes = []
    for part in range(3):
        await world.kafka.produce(topic, (Message(f"key-{part}-{n}".encode(), b"") for n in range(10_000)))
        await world.settled(topic)
        sizes.append(daemon.rss_mib())
    assert sizes[2] < sizes[0] + 10
    metrics = await daemon.metrics()
    assert metrics.sum("mps_stage_statistic", stage="pending_queue", statistic="lanes") == 0
