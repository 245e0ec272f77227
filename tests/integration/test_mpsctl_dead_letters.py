"""Dead letters and skips through mpsctl, on a real Kafka."""

import re

import pytest

from tests.integration.world import Answer, Daemon, Message, World, keyed, until
from tests.integration.world.mpsctl import mpsctl, seen, with_a_record_in_back_off

pytestmark = pytest.mark.integration


async def test_dead_letters_are_listed_counted_and_shown(world: World) -> None:
    world.application.behaviour = lambda _: Answer(422, "no such customer")
    topic = await world.create_topic(1)
    daemon = await world.start_daemon(world.subscription(topic))
    await world.produce(topic, [Message(b"k1", b"a"), Message(b"k2", b"b"), Message(b"k3", b"c")])
    await world.settled(topic)
    groups = (await seen(daemon, "dlq", "ls", "orders", "--group-by", "reason"))["groups"]
    assert [int(group["records"]) for group in groups] == [3]
    dead_letters = (await seen(daemon, "dlq", "ls", "orders", "--each"))["dead_letters"]
    assert sorted(int(dead_letter["source"]["offset"]) for dead_letter in dead_letters) == [0, 1, 2]
    shown = await mpsctl(daemon, "dlq", "show", "orders", f"{topic}/0@1")
    assert (shown.code, "rejected" in shown.out) == (0, True), shown
    assert [dead_letter["replayed"] for dead_letter in dead_letters] == [False] * 3
    world.application.heal()
    replayed = await mpsctl(daemon, "replay-dlq", "orders", "--key", "k2", "--reason", "repaired", "--yes", "--wait")
    assert (replayed.code, "by           local: repaired" in replayed.out) == (0, True), replayed

    async def marked() -> bool:
        listed = (await seen(daemon, "dlq", "ls", "orders", "--each"))["dead_letters"]
        return {dead_letter["source"]["offset"] for dead_letter in listed if dead_letter["replayed"]} == {1}

    await until(marked, "what was replayed is marked")
    shown = await mpsctl(daemon, "dlq", "ls", "orders")
    assert "1 replayed already" in shown.out, shown


async def test_a_record_that_blocks_is_skipped(world: World) -> None:
    topic, daemon = await with_a_record_in_back_off(world)
    skipped = await mpsctl(daemon, "skip", "orders", f"{topic}/0@0", "--reason", "ticket 9", "--yes")
    assert skipped.code == 0, skipped
    await world.settled(topic)
    (dead_letter,) = (await seen(daemon, "dlq", "ls", "orders", "--each"))["dead_letters"]
    assert (dead_letter["disposition"], dead_letter["source"]["offset"]) == ("skipped", 0)
    again = await mpsctl(daemon, "skip", "orders", f"{topic}/0@0", "--reason", "ticket 9", "--yes")
    assert again.code == 1, "it is settled"


async def test_dead_in_status_is_what_waits_for_somebody_and_survives_restarts(world: World) -> None:
    world.application.behaviour = lambda _: Answer(422, "no amount")
    topic = await world.create_topic(2)
    subscription = world.subscription(topic)
    daemon = await world.start_daemon(subscription)
    metrics = await daemon.metrics()
    assert metrics.sum("mps_dead_letters_total", disposition="rejected") == 0, "a series from the start"
    await world.produce(topic, [keyed(number, 20) for number in range(40)])
    await world.settled(topic)

    async def unresolved(daemon: Daemon, count: int) -> None:
        async def is_so() -> bool:
            (said,) = (await seen(daemon, "status"))["subscriptions"]
            metrics = await daemon.metrics()
            return (said["unresolved_dead_letters"], metrics.sum("mps_unresolved_dead_letters")) == (count, count)

        await until(is_so, f"{count} dead letters are unresolved", every_s=0.2)

    await unresolved(daemon, 40)
    assert await daemon.stop() == 0
    world.application.hold_all()
    daemon = await world.start_daemon(subscription)
    await unresolved(daemon, 40)
    words = ("replay-dlq", "orders", "--key", "k3", "--rate", "12/m", "--reason", "repaired", "--yes")
    assert (await mpsctl(daemon, *words)).code == 0
    shown = (await mpsctl(daemon, "status")).out
    assert re.search(r"^  replay r\w+ is running: \d matched, \d sent, ", shown, re.MULTILINE), shown
    world.application.heal()
    await unresolved(daemon, 38)
    metrics = await daemon.metrics()
    assert metrics.sum("mps_replayed_records_total", result="succeeded") == 2
    assert metrics.sum("mps_replays", state="done") == 1
    assert metrics.sum("mps_dead_letters_total") == 0, "of this process"
