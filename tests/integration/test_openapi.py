"""The running daemon against its own description: what it answers, and what it posts."""

import json
from typing import Any

import pytest

from mpsd.delivery.openapi import document
from tests.conformance.fuzzed import fuzz
from tests.conformance.http_server import HttpServer, Peer
from tests.conformance.webhooks import complaints_of_webhook
from tests.integration.world import Message, World, until

pytestmark = pytest.mark.integration

MESSAGES = [
    Message(b"k1", b"text"),
    Message(None, b"\x00\xff"),
    Message(b"\xff %", None),
    Message(b"", b"", [("content-type", b"text/plain"), ("a b", b"\xff")]),
    Message(b"k2", b'{"a": 1}', [("content-type", b"application/json")]),
]


async def test_the_daemon_answers_as_it_says(world: World) -> None:
    topic = await world.create_topic(1)
    subscription = world.subscription(topic)
    daemon = await world.start_daemon({**subscription, "delivery": {"protocol": "pull", "wait_max_s": 0.01}})
    await world.produce(topic, MESSAGES)
    status, text = await daemon.get("/v1/openapi.json")
    assert (status, json.loads(text)) == (200, document())
    assert await fuzz(daemon.http_address, "orders", 10) > 30
    assert not [line for line in daemon.log() if line.get("level") == "error" and line["logger"] != "aiokafka"]


@pytest.mark.parametrize(("webhook", "batch"), [("record", 1), ("batch", 10)])
async def test_the_daemon_posts_as_it_says(world: World, webhook: str, batch: int) -> None:
    complaints: list[str] = []
    posted = 0

    async def take(peer: Peer) -> None:
        nonlocal posted
        while True:
            request = await peer.request()
            complaints.extend(complaints_of_webhook(webhook, request.headers, request.body))
            posted += 1 if webhook == "record" else len(json.loads(request.body))
            await peer.answer(200)

    server = HttpServer(take)
    port = await server.start()
    try:
        topic = await world.create_topic(1)
        delivery: dict[str, Any] = {"url": f"http://127.0.0.1:{port}/records", "batch": {"records_max": batch}}
        await world.start_daemon(world.subscription(topic, delivery=delivery))
        await world.produce(topic, MESSAGES)
        await until(lambda: posted >= len(MESSAGES), f"all are posted: {posted}")
        assert complaints == []
    finally:
        await server.stop()
