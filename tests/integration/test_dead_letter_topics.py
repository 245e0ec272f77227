"""Dead-letter topics that somebody else made: none may lose what is written to it."""

from pathlib import Path

import pytest

from tests.integration.world import Answer, Message, World, run_mpsd, until
from tests.integration.world.mpsctl import mpsctl

pytestmark = pytest.mark.integration


async def test_a_compacted_topic_gets_no_dead_letter_until_it_is_altered(world: World) -> None:
    world.application.behaviour = lambda _: Answer(422, "no")
    topic = await world.create_topic(1)
    await world.create_dead_letter_topic(topic, cleanup_policy="compact")
    daemon = await world.start_daemon(world.subscription(topic))
    await until(lambda: daemon.said(f"{topic}.dlq", "cleanup.policy=compact"), "the start says it")
    await world.produce(topic, [Message(b"k", str(number).encode()) for number in range(4)])
    await world.produce(topic, [Message(None, b"4")])

    async def is_down() -> bool:
        return (await daemon.metrics()).sum("mps_partition_state", state="dlq-blocked") == 1

    await until(is_down, "its partition waits")
    code, output, _ = await run_mpsd("--config", str(daemon.config), "--check")
    assert code == 1
    assert "would lose dead letters" in output
    assert not any("Unknown" in line["message"] for line in daemon.log())
    doctor = await mpsctl(daemon, "doctor")
    assert "would lose dead letters" in doctor.out, doctor
    assert not any((await world.kafka.committed(topic)).values()), "nothing is committed past them"
    await world.kafka.alter_topic(f"{topic}.dlq", {"cleanup.policy": "delete"})
    await world.settled(topic)
    assert len(await world.dead_letters(topic)) == 5
    await world.judge(topic)


async def test_each_weak_setting_is_found_before_it_matters(world: World, tmp_path: Path) -> None:
    topic = await world.create_topic(1, max_message_bytes="2000000")
    await world.create_dead_letter_topic(
        topic, retention_ms="1000", retention_bytes="1000000", max_message_bytes="1000", min_insync_replicas="2"
    )
    file = tmp_path / "mps.toml"
    file.write_text(world.configuration(world.subscription(topic)))
    code, output, _ = await run_mpsd("--config", str(file), "--check")
    assert code == 1
    for setting in ("retention.ms=1000", "retention.bytes=1000000", "max.message.bytes=1000", "min.insync.replicas=2"):
        assert setting in output
    daemon = await world.start_daemon(world.subscription(topic))
    await until(lambda: daemon.said("is weak", "retention.ms=1000"), "the start says it")


async def test_a_topic_that_does_not_exist_gets_no_dead_letter_topic(world: World) -> None:
    topic = "misspelled"
    daemon = await world.begin_daemon(world.subscription(topic)).serving()
    await until(lambda: daemon.said("not created yet", topic), "it says what it waits for")
    assert not await world.kafka.topics.exists(f"{topic}.dlq")
    await world.create_topic(3, topic=topic)
    await daemon.ready()

    async def exists() -> bool:
        return await world.kafka.topics.exists(f"{topic}.dlq")

    await until(exists, "it is made once its source is there, before there is a dead letter", 30.0)
    await world.kafka.topics.delete([topic, f"{topic}.dlq"])
