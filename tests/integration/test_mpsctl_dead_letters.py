"""Dead letters and skips through mpsctl, on a real Kafka."""

import pytest

from tests.integration.world import Answer, Message, World, until
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
    letters = (await seen(daemon, "dlq", "ls", "orders", "--each"))["dead_letters"]
    assert sorted(int(letter["source"]["offset"]) for letter in letters) == [0, 1, 2]
    shown = await mpsctl(daemon, "dlq", "show", "orders", f"{topic}/0@1")
    assert (shown.code, "rejected" in shown.out) == (0, True), shown
    assert [letter["replayed"] for letter in letters] == [False] * 3
    world.application.heal()
    replayed = await mpsctl(daemon, "replay-dlq", "orders", "--key", "k2", "--reason", "repaired", "--yes", "--wait")
    assert (replayed.code, "by           local: repaired" in replayed.out) == (0, True), replayed

    async def marked() -> bool:
        listed = (await seen(daemon, "dlq", "ls", "orders", "--each"))["dead_letters"]
        return {letter["source"]["offset"] for letter in listed if letter["replayed"]} == {1}

    await until(marked, "what was replayed is marked")
    shown = await mpsctl(daemon, "dlq", "ls", "orders")
    assert "1 replayed already" in shown.out, shown


async def test_a_record_that_blocks_is_skipped(world: World) -> None:
    topic, daemon = await with_a_record_in_back_off(world)
    skipped = await mpsctl(daemon, "skip", "orders", f"{topic}/0@0", "--reason", "ticket 9", "--yes")
    assert skipped.code == 0, skipped
    await world.settled(topic)
    (letter,) = (await seen(daemon, "dlq", "ls", "orders", "--each"))["dead_letters"]
    assert (letter["disposition"], letter["source"]["offset"]) == ("skipped", 0)
    again = await mpsctl(daemon, "skip", "orders", f"{topic}/0@0", "--reason", "ticket 9", "--yes")
    assert again.code == 1, "it is settled"
