"""A consumer that is given up while its broker is away: the library's own end of one is not told apart from ours."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from mpsd.errors import KafkaUnavailable
from mpsd.kafka.connection import asking
from mpsd.kafka.consumer import stop
from tests.integration.world import World, until

REST_MS = 10_000


@pytest.mark.integration
async def test_a_consumer_that_rests_after_a_failed_fetch_is_stopped_like_any_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Fetcher.close` cancels such a fetch and lets its CancelledError out, with all connections still open.

    Whoever stopped the consumer ended silently with it: after an outage the control topic was not read any more, and
    partitions that were assigned waited for it for ever.
    """
    topic = await world.create_topic(1)
    before = asyncio.all_tasks()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.kafka.bootstrap_servers, enable_auto_commit=False, retry_backoff_ms=REST_MS
    )
    await consumer.start()
    failed = 0

    async def away(*_: object, **__: object) -> None:
        nonlocal failed
        failed += 1
        raise KafkaConnectionError

    monkeypatch.setattr(consumer._client, "send", away)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), 0)
    await until(lambda: failed, "a fetch has failed")
    await stop(consumer)
    assert not any(connection.connected() for connection in consumer._client._conns.values())
    await until(lambda: asyncio.all_tasks() <= before, "nothing of it is left")


async def test_a_cancellation_that_is_not_ours_is_an_error_like_others() -> None:
    """A future of the library that it has cancelled itself says nothing of the task that waits for it."""
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    gone.cancel()
    with pytest.raises(KafkaUnavailable, match="could not look: the client library gave up"), asking("look"):
        await gone


async def test_a_cancellation_of_ours_stays_one() -> None:
    async def look() -> None:
        with asking("look"):
            await asyncio.sleep(60)

    task = asyncio.create_task(look())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
