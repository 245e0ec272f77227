"""The runbook's situations are made, and mpsctl then says what the page shows.

A section is a situation; its `sh` blocks are the commands, each with the `text output` that follows. The text between is
what the situation's function here does.
"""

import json
import re
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.blocks import ROOT, Block, blocks, missing
from tests.integration.world import Answer, Daemon, Message, World, keyed, until
from tests.integration.world.mpsctl import Ran, mpsctl, seen

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs/how-to/runbook.md"
LOOKING = {"status", "inspect", "doctor", "audit", "replay ls", "dlq ls"}
"""Commands that may be run until they show what is to come; a change is made once."""
DAEMONS = ("10.0.0.5:7070", "10.0.0.6:7070")
NOBODY = 4
"""Exit code where no daemon answers."""
APPLICATION = "http://billing:8000/orders"


class Step(NamedTuple):
    """A command of the page, and what it prints."""

    command: list[str]
    shown: str
    line: int


def sections() -> dict[str, list[Step]]:
    """Return the page's situations by their titles."""
    titles = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title: _steps(blocks(text)) for title, text in zip(titles[1::2], titles[2::2], strict=True)}


def _steps(found: list[Block]) -> list[Step]:
    steps = []
    for command, output in zip(found[::2], found[1::2], strict=True):
        assert (command.language, output.words) == ("sh", {"output": ""}), f"no output behind {command.text}"
        program, *words = shlex.split(command.text)
        assert program == "mpsctl"
        steps.append(Step(words, output.text, command.line))
    return steps


class Operator:
    """An operator who follows a section, command by command.

    Args:
        topic: the page's `orders`.
    """

    def __init__(self, world: World, topic: str, steps: list[Step]) -> None:
        self.world = world
        self.topic = topic
        self.left = list(steps)
        self.address = ""
        self._names = {world.application.url: APPLICATION, topic: "orders"}

    def subscription(self, **tables: object) -> dict[str, object]:
        """Return the page's `billing`; a delivery with a protocol replaces the world's."""
        delivery = tables.get("delivery")
        if not isinstance(delivery, dict) or "protocol" not in delivery:
            return self.world.subscription(self.topic, name="billing", **tables)
        return {**self.world.subscription(self.topic, name="billing"), "delivery": delivery}

    def called(self, name: str, shown: str) -> None:
        """Note the page's name for something."""
        self._names[name] = shown

    async def daemon(self, *, advertise: str = "", **tables: object) -> Daemon:
        """Start a daemon with the page's `billing`; commands go to the first one."""
        daemon = await self.world.start_daemon(
            self.subscription(**tables),
            admin={"peer_timeout_s": 1.0, "advertise": advertise},
            control={"confirm_timeout_s": 2.0},
            reload={"interval_s": 0.2},
        )
        self._names[daemon.admin_address] = DAEMONS[len(self.world.daemons) - 1]
        self.address = self.address or daemon.admin_address
        return daemon

    async def step(self, code: int = 0) -> None:
        """Run the next command; compare its exit code and its output with the page."""
        step = self.left.pop(0)
        words = [re.sub(r"\borders\b", self.topic, word) for word in step.command]
        ran: list[Ran] = []

        async def as_shown() -> bool:
            ran.append(await mpsctl(self.address, *words))
            return not self._lacking(step, ran[-1]) and ran[-1].code == code

        if LOOKING & {step.command[0], " ".join(step.command[:2])}:
            try:
                await until(as_shown, "it is as shown", every_s=0.2)
            except AssertionError:
                self._check(step, ran[-1], code)
        elif not await as_shown():
            self._check(step, ran[-1], code)
        if step.command[0] == "status" and code != NOBODY:
            await until(self._all_agree, "status, doctor and metrics say the same", every_s=0.2)

    async def _all_agree(self) -> bool:
        """Return True if all that an operator may ask have the same words for the state."""
        status = json.loads((await mpsctl(self.address, "status", "--json")).out)
        doctor = json.loads((await mpsctl(self.address, "doctor", "--json")).out)
        answered = {each["address"] for each in status["instances"] if each["answered"]}
        asked = [await each.metrics() for each in self.world.daemons if each.admin_address in answered]
        (said,) = status["subscriptions"]
        state, words = said["state"], _plain(f"{said['state']}: {said['state_reason']}")
        found = [each for each in doctor["findings"] if each["subject"] == "billing"]
        describe = any(_plain(each["message"]) == words or _is_of(each["code"], state) for each in found)
        in_metrics = any(each.sum("mps_subscription_state", state=state) for each in asked)
        if state == "running":
            return in_metrics and not any(_plain(each["message"]).startswith("running") for each in found)
        return describe and (in_metrics or state == "unknown")

    def _check(self, step: Step, ran: Ran, code: int) -> None:
        lacking = self._lacking(step, ran)
        assert (lacking, ran.code) == ([], code), f"{shlex.join(step.command)} said:\n{self._said(ran)}"

    def _lacking(self, step: Step, ran: Ran) -> list[str]:
        """Columns are as wide as what stands in them, which differs."""
        return list(missing(_narrow(step.shown), _narrow(self._said(ran))))

    def _said(self, ran: Ran) -> str:
        """With the page's names."""
        said = ran.out + ran.err
        for name, shown in self._names.items():
            said = said.replace(name, shown)
        return said


def _plain(text: str) -> str:
    """Without what differs from one moment to the next."""
    return re.sub(r"\d+(\.\d+)?", "N", text)


def _is_of(code: str, state: str) -> bool:
    """Return True for the code of a finding that says more of the state, such as `endpoint.out` of `endpoint-out`."""
    return bool(code) and code.replace(".", "-").replace("_", "-").endswith(state)


def _narrow(text: str) -> str:
    return re.sub(r" +", " ", text)


Situation = Callable[[Operator], Awaitable[None]]
SITUATIONS: dict[tuple[str, ...], Situation] = {}


def situation(*titles: str) -> Callable[[Situation], Situation]:
    """Mark the test of one section, or of several that follow from each other."""

    def register(function: Situation) -> Situation:
        SITUATIONS[titles] = function
        return function

    return register


@situation("One key blocks the commit", "One record will never be accepted")
async def poison(at: Operator) -> None:
    at.world.application.behaviour = lambda request: (
        Answer(500, "no such customer") if request.record.key == b"customer-17" else Answer()
    )
    retry = {"attempts_max": 100, "backoff_initial_s": 30.0, "backoff_max_s": 60.0}
    await at.daemon(retry=retry)
    await at.world.produce(at.topic, [Message(b"customer-17", b"a"), *(keyed(n, 20) for n in range(40))])
    await at.world.application.accepts(40)
    for _ in range(6):
        await at.step()


@situation("The application is down")
async def outage(at: Operator) -> None:
    await at.daemon()
    await at.world.application.go_away()
    await at.world.produce(at.topic, [keyed(n, 20) for n in range(40)])
    await at.step()
    await at.step(code=1)
    await at.world.application.come_back()
    await at.step()
    await at.world.settled(at.topic)


@situation("Nobody receives")
async def no_receiver(at: Operator) -> None:
    daemon = await at.daemon(delivery={"protocol": "stream", "receiver_timeout_s": 1.0})
    await at.world.produce(at.topic, [keyed(n, 20) for n in range(40)])
    await at.step()
    await at.step()
    at.world.stream_worker(daemon.stream_address, subscription="billing")
    await at.step()
    await at.world.settled(at.topic)


@situation("The application rejects everything")
async def rejections(at: Operator) -> None:
    at.world.application.behaviour = lambda _: Answer(422, "no amount")
    await at.daemon(breaker={"rejections_max": 20, "probe_interval_s": 0.2})
    await at.world.produce(at.topic, [keyed(n, 20) for n in range(40)])
    for _ in range(3):
        await at.step()
    await at.world.settled(at.topic)
    assert len(await at.world.dead_letters(at.topic)) == 40


@situation("The lag grows, and nothing is stuck")
async def slow(at: Operator) -> None:
    at.world.application.behaviour = lambda _: Answer(after_s=0.5)
    await at.daemon(delivery={"concurrency_max": 8}, pending={"records_max": 400})
    await at.world.produce(at.topic, [keyed(n, 50) for n in range(2_000)])
    await at.world.application.accepts(8)
    await at.step()
    await at.step()
    at.world.application.heal()


@situation("Dead letters cannot be written")
async def dead_letters(at: Operator) -> None:
    await at.world.create_dead_letter_topic(at.topic, max_message_bytes="100")
    at.world.application.behaviour = lambda request: (
        Answer(422, "no amount") if request.record.key == b"customer-17" else Answer()
    )
    await at.daemon()
    await at.world.produce(at.topic, [Message(b"customer-17", b"a"), *(keyed(n, 20) for n in range(40))])
    await at.step()
    await at.world.kafka.alter_topic(f"{at.topic}.dlq", {"max.message.bytes": "1000000"})
    await at.step()
    await at.world.settled(at.topic)
    assert len(await at.world.dead_letters(at.topic)) == 1


async def two(at: Operator) -> Daemon:
    """Daemons that know each other; the one that is not called."""
    first = await at.daemon()
    second = await at.daemon()

    async def both() -> bool:
        return len((await seen(first, "status"))["instances"]) == len(DAEMONS)

    await until(both, "each knows the other")
    return second


@situation("A daemon is frozen")
async def frozen(at: Operator) -> None:
    with (await two(at)).frozen():
        await at.step(code=3)
    await at.step()


@situation("A pause is not confirmed by all")
async def unconfirmed(at: Operator) -> None:
    with (await two(at)).frozen():
        await at.step(code=3)
    await at.step()
    await at.step()


@situation("Daemons do not reach each other")
async def one_address(at: Operator) -> None:
    first = await at.daemon()
    await at.daemon(advertise=first.admin_address)
    await at.step(code=3)
    await at.step(code=3)
    await at.step(code=1)


@situation("Deliveries must stop for maintenance", "Records must be delivered again")
async def maintenance(at: Operator) -> None:
    await at.daemon()
    await at.step()
    await at.world.produce(at.topic, [keyed(n, 20) for n in range(40)])
    await at.step()
    assert not at.world.application.requests
    await at.step()
    await at.world.settled(at.topic)
    assert set(at.world.application.accepted.values()) == {1}
    await at.step()
    await at.step()

    async def twice() -> bool:
        return set(at.world.application.accepted.values()) == {2}

    await until(twice, "every record came again")
    await at.step()


@situation("The application is overloaded")
async def overload(at: Operator) -> None:
    await at.daemon()
    await at.step()
    await at.step()
    await at.step()


@situation("Records are dead-lettered", "Records were dead-lettered, and the cause is repaired")
async def replay(at: Operator) -> None:
    at.world.application.behaviour = lambda _: Answer(422, "no amount")
    await at.daemon()
    await at.world.produce(at.topic, [keyed(n, 20) for n in range(40)])
    await at.world.settled(at.topic)
    for _ in range(3):
        await at.step()
    at.world.application.heal()
    for _ in range(3):
        await at.step()
    await at.world.application.accepts(40)


async def holding(at: Operator, key: bytes) -> None:
    """Let the first record of the key die in partition 0, with four blocked behind it."""
    at.world.application.behaviour = lambda request: (
        Answer(422, "no such customer") if request.record.key == key else Answer()
    )
    await at.daemon(ordering={"after_dead_letter": "block"})
    await at.world.produce(at.topic, [Message(key, b"a") for _ in range(5)])
    await at.world.settled(at.topic)


@situation("A key is blocked")
async def held(at: Operator) -> None:
    await holding(at, b"customer-17")
    for _ in range(3):
        await at.step()
    at.world.application.heal()
    await at.step()
    await at.step()
    assert len(at.world.application.accepted) == 5


@situation("A key is blocked by a record that will never be accepted")
async def given_up(at: Operator) -> None:
    await holding(at, b"customer-18")
    await at.step()
    at.world.application.heal()
    await at.step()
    await at.step()
    assert len(at.world.application.accepted) == 4


@situation("Who paused this?")
async def audit(at: Operator) -> None:
    await at.daemon()
    paused = await mpsctl(at.address, "pause", "billing", "--key", "customer-17", "--reason", "bad data, ticket 812")
    assert paused.code == 0
    for _ in range(4):
        await at.step()


@situation("A secret is broken")
async def broken_secret(at: Operator) -> None:
    token = at.world.directory / "token"
    at.called(str(token), "/run/secrets/token")
    write(token, "one")
    await at.daemon(delivery={"auth": {"bearer": {"file": str(token)}}})
    write(token, "")
    await at.step()
    write(token, "two")
    await at.step()
    await at.world.produce(at.topic, [keyed(n, 20) for n in range(40)])
    await at.world.settled(at.topic)


def write(file: Path, text: str) -> None:
    file.write_text(text)


@situation("No daemon answers")
async def nobody(at: Operator) -> None:
    daemon = await at.daemon()
    await daemon.stop()
    await at.step(code=4)


async def test_every_situation_of_the_page_is_made() -> None:
    assert list(sections()) == [title for titles in SITUATIONS for title in titles]


@pytest.mark.parametrize("titles", SITUATIONS, ids=", ".join)
async def test_mpsctl_says_what_the_runbook_shows(world: World, titles: tuple[str, ...]) -> None:
    page = sections()
    at = Operator(world, await world.create_topic(2), [step for title in titles for step in page[title]])
    await SITUATIONS[titles](at)
    assert not at.left, "every command was run"
