"""Members of the group that are none of ours."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import InconsistentGroupProtocolError, KafkaError

from tests.faults.figures import Figures
from tests.faults.fleet import Fleet, Quiet, lasts
from tests.integration.world import until

pytestmark = pytest.mark.integration


def plain(fleet: Fleet) -> Any:
    """Return a consumer as anybody writes one: eager, with the range assignor."""
    return AIOKafkaConsumer(
        fleet.topic,
        bootstrap_servers=fleet.world.kafka.bootstrap_servers,
        group_id=fleet.topic,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=2_500,
        heartbeat_interval_ms=200,
    )


async def test_a_plain_consumer_cannot_join_ours(fleet: Fleet, figures: Figures) -> None:
    await fleet.create_topic()
    await fleet.start("a", "b")
    await fleet.balanced()
    consumer = plain(fleet)
    try:
        async with fleet.load():
            with pytest.raises(InconsistentGroupProtocolError):
                await consumer.start()
            await fleet.more()
    finally:
        await consumer.stop()
    cost = await fleet.settle()
    assert cost["again"] == 0
    figures.note("a plain consumer tries to join our group: it is refused, ours go on", **cost)


async def test_ours_does_not_join_plain_consumers(fleet: Fleet, figures: Figures) -> None:
    await fleet.create_topic()
    consumer = plain(fleet)
    await consumer.start()
    reading = asyncio.create_task(read(consumer))
    try:
        daemon = await fleet.begin("a").serving()
        with Quiet(daemon) as quiet:

            async def is_told() -> bool:
                status, body = await daemon.get("/readyz")
                return status == 503 and "choose another group" in json.loads(body)["reasons"][0]

            await until(is_told, "it says why it does not join")
            await lasts(2.0)
            assert daemon.said("choose another group")
            assert (await daemon.get("/healthz"))[0] == 200
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError, KafkaError):
            await reading
        await consumer.stop()
    await daemon.ready()
    async with fleet.load():
        await fleet.more()
    cost = await fleet.settle()
    figures.note(
        "plain consumers are in the group: ours waits, says so, joins when they are gone", **cost, **quiet.figures
    )


async def read(consumer: Any) -> None:
    """Read for ever, so that the consumer stays a member."""
    while True:
        await consumer.getmany(timeout_ms=100)
