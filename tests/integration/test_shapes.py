"""Records of every shape arrive byte for byte, and those without a key as the configuration says."""

import random
import re
from urllib.parse import quote

import pytest

from mpsd.demo.guarantees.events import DeliveryEnded, SeenRecord
from tests.integration.world import Answer, Message, Request, World, until

pytestmark = pytest.mark.integration

EVERY_BYTE = bytes(range(256))
SHAPES = {
    "empty key": Message(b"", b"value"),
    "empty value": Message(b"k", b""),
    "tombstone": Message(b"k", None),
    "tombstone without a key": Message(None, None),
    "binary key": Message(EVERY_BYTE, b"value"),
    "key of text beyond ASCII": Message("Köln/北京 100%".encode(), b"value"),
    "binary value": Message(b"k", EVERY_BYTE * 8),
    "value that looks like HTTP": Message(b"k", b"HTTP/1.1 500 no\r\n\r\n0\r\n\r\n"),
    "1 MiB": Message(b"large", random.Random(1).randbytes(1 << 20)),
    "repeated header": Message(b"k", b"v", [("a", b"1"), ("b", b"2"), ("a", b"3"), ("a", b"")]),
    "binary header": Message(b"k", b"v", [("bytes", EVERY_BYTE), ("lines", b"one\r\nMps-Key: forged\r\n")]),
    "header names": Message(b"k", b"v", [("with space", b"1"), ("Grüße:", b"2"), ("Content-Length", b"7"), ("", b"3")]),
    "a time before 1970 is none": Message(b"k", b"v", timestamp_ms=0),
}


async def test_every_shape_arrives_byte_for_byte(world: World) -> None:
    topic = await world.create_topic(max_message_bytes=str(2 << 20))
    received: dict[int, Request] = {}

    def remember(request: Request) -> Answer:
        received[request.record.offset] = request
        return Answer()

    world.application.behaviour = remember
    daemon = await world.start_daemon(world.subscription(topic))
    sent = await world.produce(topic, SHAPES.values())
    await world.settled(topic)
    assert await daemon.stop() == 0
    for shape, record in zip(SHAPES, sent, strict=True):
        request = received[record.offset]
        assert request.record == record, shape
        assert re.fullmatch(rf"[A-Za-z0-9_-]{{22}}/0/{record.offset}", request.headers["idempotency-key"])
        assert request.headers["content-length"] == str(len(record.value or b""))
        if record.key is None:
            assert "mps-key" not in request.headers
        else:
            assert request.headers["mps-key"] == quote(
                record.key, safe="".join(map(chr, range(0x21, 0x7F))).replace("%", "")
            )
    await world.judge(topic)


def in_flight_at_most(world: World) -> int:
    """Return the most deliveries that the application saw at one time."""
    now = most = 0
    for event in world.application.events:
        now += -1 if isinstance(event, DeliveryEnded) else 1
        most = max(most, now)
    return most


async def test_records_without_a_key_are_free_or_ordered_as_configured(world: World) -> None:
    free, ordered = await world.create_topic(), await world.create_topic()
    messages = [Message(None, str(number).encode()) for number in range(40)]
    world.application.hold_all()
    await world.start_daemon(
        world.subscription(free, name="free", delivery={"concurrency_max": 8}),
        world.subscription(ordered, name="ordered", ordering={"null_key": "partition"}),
    )
    sent: list[SeenRecord] = [*await world.produce(free, messages), *await world.produce(ordered, messages)]
    await until(lambda: world.application.held >= 8 + 1, "free ones are in flight together, an ordered one alone")
    seen: list[int] = []

    def note(request: Request) -> Answer:
        if request.record.topic == ordered:
            seen.append(request.record.offset)
        return Answer()

    assert world.application.held == 8 + 1
    world.application.behaviour = note
    world.application.release()
    await world.settled(free, ordered)
    assert seen == list(range(1, 40))
    assert len(world.application.accepted) == len(sent) == world.application.requests
    await world.judge(free, at_once_min=8)
    await world.judge(ordered)


async def test_a_record_larger_than_every_bound_passes_alone(world: World) -> None:
    topic = await world.create_topic(max_message_bytes=str(2 << 20))
    bounds = {"pending": {"records_max": 10, "bytes_max": 65_536}}
    daemon = await world.start_daemon(
        world.subscription(topic, **bounds), limits={"pending_bytes_max": 9 << 20}, kafka={"fetch_bytes_max": 65_536}
    )
    small = [Message(f"k{number}".encode(), b"small") for number in range(20)]
    await world.produce(topic, [*small, Message(b"k1", bytes(1 << 20)), *small])
    await world.settled(topic)
    assert await daemon.stop() == 0
    await world.judge(topic)
