"""Applications that dial in, several to a subscription, on a real Kafka."""

from collections import Counter
from typing import Any

import pytest

from tests.integration.world import World, keyed, until

pytestmark = pytest.mark.integration

RECORDS = 3_000
KEYS = 200


def streamed(world: World, topic: str, **delivery: Any) -> dict[str, Any]:
    subscription = world.subscription(topic)
    subscription["delivery"] = {"protocol": "stream", **delivery}
    return subscription


async def test_two_streams_share_a_subscription_in_key_order(world: World) -> None:
    topic = await world.create_topic(4)
    daemon = await world.start_daemon(streamed(world, topic))
    workers = [world.stream_worker(daemon.stream_address) for _ in range(2)]
    await world.produce(topic, [keyed(number, KEYS) for number in range(RECORDS)])
    await world.settled(topic)
    assert set(Counter(place for worker in workers for place in worker.accepted).values()) == {1}
    assert all(len(worker.accepted) > RECORDS / 4 for worker in workers)
    assert [worker.said("peers")[-1]["addresses"] for worker in workers] == [[daemon.stream_address]] * 2
    assert await daemon.stop() == 0
    for worker in workers:
        await worker.ended()
        assert worker.said("drain")
        assert worker.said("stream_ended")[0]["code"] == "StatusCode.UNAVAILABLE"
    await world.judge(topic, applications=workers, at_once_min=4)


async def test_a_killed_client_loses_nothing_and_repeats_what_it_held(world: World) -> None:
    topic = await world.create_topic(4)
    daemon = await world.start_daemon(streamed(world, topic))
    workers = [world.stream_worker(daemon.stream_address, credit=20) for _ in range(2)]
    await world.produce(topic, [keyed(number, KEYS) for number in range(RECORDS)])
    await workers[0].accepts(RECORDS // 6)
    await workers[0].kill()
    await world.settled(topic)
    times = Counter(place for worker in workers for place in worker.accepted)
    assert len(times) == RECORDS
    assert sum(times.values()) - RECORDS <= 20, "settled by the dead one, but not told any more"
    await workers[1].stop()
    assert await daemon.stop() == 0
    await world.judge(topic, applications=workers, repeated_s=1.0)


async def test_a_client_that_stops_cleanly_costs_nothing(world: World) -> None:
    topic = await world.create_topic(4)
    daemon = await world.start_daemon(streamed(world, topic))
    workers = [world.stream_worker(daemon.stream_address) for _ in range(2)]
    await world.produce(topic, [keyed(number, KEYS) for number in range(RECORDS)])
    await workers[0].accepts(RECORDS // 6)
    await workers[0].stop()
    await world.settled(topic)
    times = Counter(place for worker in workers for place in worker.accepted)
    assert (len(times), set(times.values())) == (RECORDS, {1})
    metrics = await daemon.metrics()
    assert metrics.sum("mps_retries_total") == 0
    assert await daemon.stop() == 0
    await world.judge(topic, applications=workers, at_once_min=4)


async def test_a_daemon_stopped_in_full_flow_drains_its_streams(world: World) -> None:
    topic = await world.create_topic(4)
    first = await world.start_daemon(streamed(world, topic))
    workers = [world.stream_worker(first.stream_address, work_s=0.2)]
    await world.produce(topic, [keyed(number, KEYS) for number in range(RECORDS)])
    await workers[0].accepts(RECORDS // 6)
    assert await first.stop() == 0
    await workers[0].ended()
    assert workers[0].said("drain")
    assert len(workers[0].accepted) < RECORDS, "it was stopped in full flow"
    second = await world.start_daemon(streamed(world, topic))
    workers.append(world.stream_worker(second.stream_address))
    await world.settled(topic)
    assert set(Counter(place for worker in workers for place in worker.accepted).values()) == {1}
    assert await second.stop() == 0
    await world.judge(topic, applications=workers, at_once_min=4)


async def test_every_daemon_names_all_of_them_and_each_change(world: World) -> None:
    topic = await world.create_topic(4)
    first = await world.start_daemon(streamed(world, topic))
    worker = world.stream_worker(first.stream_address)
    await until(lambda: worker.said("peers"), "the first is named")
    second = await world.start_daemon(streamed(world, topic))
    both = sorted([first.stream_address, second.stream_address])
    await until(lambda: worker.said("peers")[-1]["addresses"] == both, "both are named")
    other = world.stream_worker(second.stream_address)
    await world.produce(topic, [keyed(number, KEYS) for number in range(RECORDS)])
    await world.settled(topic)
    assert other.said("peers")[-1]["addresses"] == both
    assert worker.accepted
    assert other.accepted
    assert await second.stop() == 0
    await until(lambda: worker.said("peers")[-1]["addresses"] == [first.stream_address], "one has left")
    assert await first.stop() == 0
    await world.judge(topic, applications=[worker, other])
