"""The rights that the documentation asks for are enough, and each that is missing is named."""

import re
from pathlib import Path

import pytest

from mpsd.demo.broker import KafkaCluster
from tests.integration.world import Answer, Daemon, Message, World, run_mpsd, until
from tests.integration.world.guarded import USER, guarded_world
from tests.integration.world.mpsctl import mpsctl, seen

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parent.parent.parent / "docs/how-to/tls.md"
ROW = re.compile(r"^\| (?P<on>[^|]+) \| (?P<operations>(?:Read|Write|Create|DescribeConfigs)[^|]*) \|", re.MULTILINE)


def documented() -> dict[str, list[str]]:
    """Operations by what they are granted on, as the page has them."""
    return {row["on"].strip(): row["operations"].strip().split(", ") for row in ROW.finditer(PAGE.read_text())}


class Grants:
    """The documented rights, on the names that a test uses."""

    def __init__(self, world: World, topic: str) -> None:
        self._world = world
        self.names = {
            "each source topic": {"topic": topic},
            "the group": {"group": topic},
            "the dead-letter topic": {"topic": f"{topic}.dlq"},
            "`control.topic`": {"topic": f"{topic}.control"},
            "`control.audit_topic`": {"topic": f"{topic}.audit"},
        }
        self.rights = documented()
        assert self.rights.keys() == self.names.keys()

    async def grant(self, on: str, without: str = "") -> None:
        await self._world.kafka.forbid(USER, **self.names[on])
        operations = [operation.lower() for operation in self.rights[on] if operation != without]
        await self._world.kafka.allow(USER, operations, **self.names[on])

    async def grant_all(self) -> None:
        for on in self.names:
            await self.grant(on)

    def named(self, on: str, operation: str) -> str:
        ((kind, name),) = self.names[on].items()
        return f"{operation} on {kind} {name}"


def tables(topic: str) -> dict[str, dict[str, str]]:
    return {"control": {"topic": f"{topic}.control", "audit_topic": f"{topic}.audit"}}


async def check(file: Path) -> tuple[int, str]:
    code, output, _ = await run_mpsd("--config", str(file), "--check", "--json")
    return code, output


async def test_the_documented_rights_are_enough_and_each_that_is_missing_is_named(
    guarded_kafka: KafkaCluster, tmp_path: Path
) -> None:
    async with guarded_world(guarded_kafka) as world:
        topic = await world.create_topic()
        grants = Grants(world, topic)
        file = tmp_path / "mps.toml"
        file.write_text(world.configuration(world.subscription(topic), **tables(topic)))

        async def says(code: int, words: str = "") -> None:
            said = (0, "")

            async def is_so() -> bool:
                nonlocal said
                said = await check(file)
                return said[0] == code and words in said[1]

            try:
                await until(is_so, f"--check exits with {code} and says {words!r}", 20.0)
            except AssertionError as error:
                raise AssertionError(f"{error}: {said[1]}") from error

        await grants.grant_all()
        await says(0)
        assert not await world.kafka.topics.exists(f"{topic}.dlq"), "a check changes nothing"
        for on in ("the dead-letter topic", "`control.topic`", "`control.audit_topic`"):
            await grants.grant(on, without="Create")
            await says(1, grants.named(on, "Create"))
            await grants.grant(on)
        await says(0)
        daemon = await world.start_daemon(world.subscription(topic), **tables(topic))
        await use_all_of(world, daemon, topic)
        for on, operations in grants.rights.items():
            for operation in operations:
                if operation != "Create":
                    await grants.grant(on, without=operation)
                    await says(1, grants.named(on, operation))
                    await grants.grant(on)
        await says(0)


async def use_all_of(world: World, daemon: Daemon, topic: str) -> None:
    """Deliver, dead-letter, list, replay, pause."""
    world.application.behaviour = lambda request: Answer(422 if request.record.key == b"bad" else 200, "no")
    await world.produce(topic, [Message(b"good", b"1"), Message(b"bad", b"2")])
    await world.settled(topic)
    (dead_letter,) = (await seen(daemon, "dlq", "ls", "orders", "--each"))["dead_letters"]
    assert dead_letter["disposition"] == "rejected"
    world.application.heal()
    replayed = await mpsctl(daemon, "replay-dlq", "orders", "--reason", "repaired", "--yes", "--wait")
    assert replayed.code == 0, replayed
    assert (await seen(daemon, "audit"))["entries"]
    assert await daemon.stop() == 0


async def test_one_forbidden_topic_hides_no_finding_on_the_others(guarded_kafka: KafkaCluster, tmp_path: Path) -> None:
    async with guarded_world(guarded_kafka) as world:
        topic, forbidden = await world.create_topic(), await world.create_topic()
        grants = Grants(world, topic)
        await grants.grant_all()
        file = tmp_path / "mps.toml"
        second = world.subscription(forbidden, name="forbidden")
        file.write_text(world.configuration(world.subscription(topic), second, **tables(topic)))

        async def is_so() -> bool:
            code, output = await check(file)
            return (
                code == 1
                and f"Read on topic {forbidden}" in output
                and f"Read on group {forbidden}" in output
                and f"reads topic {topic}: 1 partition(s)" in output
                and f"would create dead-letter topic {topic}.dlq" in output
            )

        await until(is_so, "each topic has its finding")


async def test_a_replay_that_could_not_read_is_refused(guarded_kafka: KafkaCluster) -> None:
    async with guarded_world(guarded_kafka) as world:
        topic = await world.create_topic()
        grants = Grants(world, topic)
        await grants.grant_all()
        world.application.behaviour = lambda _: Answer(422, "no")
        daemon = await world.start_daemon(world.subscription(topic), **tables(topic))
        await world.produce(topic, [Message(f"k{number}".encode(), b"") for number in range(20)])
        await world.settled(topic)
        replay = "replay-dlq", "orders", "--reason", "repaired", "--yes"

        async def is_refused(*words: str) -> bool:
            ran = await mpsctl(daemon, *words)
            return ran.code == 1 and f"TopicAuthorizationFailed ({topic}.dlq)" in ran.err

        await grants.grant("the dead-letter topic", without="Read")
        await until(lambda: is_refused("dlq", "ls", "orders"), "dead letters cannot be listed")
        assert await is_refused(*replay)
        assert (await seen(daemon, "replay", "ls"))["replays"] == []
        await grants.grant("the dead-letter topic")
        world.application.heal()

        async def is_done() -> bool:
            return (await mpsctl(daemon, *replay, "--wait")).code == 0

        await until(is_done, "it may be read again")
        await world.application.accepts(20)
