"""Mistakes and missing rights of an operator: mpsctl before the real admin service, over a real channel."""

import asyncio

import pytest
from typer.testing import CliRunner

from mpsctl.__main__ import app
from tests.fakes.steerable import TOKENS, Served, served, tokens
from tests.unit.mpsctl.conftest import Ran

pytestmark = pytest.mark.usefixtures("clean")

UNKNOWN_SUBSCRIPTION = [
    "status biling",
    "inspect biling",
    "pause biling --reason x",
    "resume biling",
    "limit biling --rate 5/s",
    "limit biling --clear",
    "skip biling orders/0@1 --reason x --yes",
    "dlq ls biling",
    "dlq ls biling --each",
    "dlq show biling orders/0@1",
    "replay-dlq biling --dry-run",
    "replay-dlq biling --yes",
    "replay ls biling",
    "reset biling --to latest --dry-run",
    "reset biling --to latest --yes",
    "audit biling",
]
UNKNOWN_PLACE = [
    "inspect billing --partition {}",
    "pause billing --partition {} --reason x",
    "resume billing --partition {}",
    "skip billing {}@1 --reason x --yes",
    "dlq ls billing --partition {}",
    "dlq ls billing --each --partition {}",
    "replay-dlq billing --partition {} --dry-run",
    "replay-dlq billing --partition {} --yes",
    "reset billing --to {}@1 --dry-run",
    "reset billing --to {}@1 --yes",
]
NONSENSE = {
    "dlq ls billing --since 1h --until 2h": "filter.until: is not after since",
    f"dlq ls billing --reason-contains {'x' * 1_025}": "filter.reason_contains: has more than",
    "replay-dlq billing --since 1h --until 2h --yes": "filter.until: is not after since",
    "reset billing --to 1969-12-31T00:00:00Z --yes": "time: 1969-12-31T00:00:00+00:00 is before 1970",
}


async def mpsctl(one: Served, words: str, token: str = "") -> Ran:
    def run() -> Ran:
        argv = ["--address", one.address, *words.split()]
        result = CliRunner().invoke(app, argv, prog_name="mpsctl", env={"MPSCTL_TOKEN": token} if token else {})
        return Ran(result.exit_code, result.stdout, result.stderr)

    return await asyncio.to_thread(run)


async def test_a_subscription_that_is_not_there_is_answered_with_the_nearest() -> None:
    async with served() as (one,):
        for words in UNKNOWN_SUBSCRIPTION:
            ran = await mpsctl(one, words)
            assert (ran.code, 'did you mean "billing"?' in ran.err) == (1, True), (words, ran)
        assert not one.daemon.control.changes


@pytest.mark.parametrize(("place", "says"), [("orders/4", "0 to 3"), ("order/0", 'did you mean "orders"?')])
async def test_a_place_that_is_not_there_is_answered_with_what_is(place: str, says: str) -> None:
    async with served() as (one,):
        for words in UNKNOWN_PLACE:
            ran = await mpsctl(one, words.format(place))
            assert (ran.code, says in ran.err) == (1, True), (words, ran)
        assert not one.daemon.control.changes


async def test_a_bad_filter_or_time_is_named() -> None:
    async with served() as (one,):
        for words, says in NONSENSE.items():
            ran = await mpsctl(one, words)
            assert (ran.code, says in ran.err) == (2, True), (words, ran)
        assert not one.daemon.control.changes


@pytest.mark.parametrize(
    ("token", "words", "says"),
    [
        ("", "status", "--token-file"),
        ("x" * 20, "status", "the bearer token is not known here"),
        (TOKENS["viewer"], "pause billing --reason x", "Pause needs the role operator; viewer has viewer"),
        (TOKENS["viewer"], "resume billing", "Resume needs the role operator"),
        (TOKENS["operator"], "skip billing orders/0@1 --reason x --yes", "Skip needs the role admin; operator has"),
        (TOKENS["operator"], "reset billing --to latest --yes", "Reset needs the role admin"),
        (TOKENS["operator"], "replay-dlq billing --yes", "StartReplay needs the role admin"),
    ],
)
async def test_who_may_not_is_told_what_it_takes(token: str, words: str, says: str) -> None:
    async with served(known=tokens()) as (one,):
        ran = await mpsctl(one, words, token)
        assert (ran.code, says in ran.err) == (1, True), ran
        assert not one.daemon.control.changes


async def test_who_may_does() -> None:
    async with served(known=tokens()) as (one,):
        assert (await mpsctl(one, "status", TOKENS["viewer"])).code == 0
        assert (await mpsctl(one, "pause billing --reason x", TOKENS["operator"])).code == 0
        (said,) = (said for _, _, said in one.daemon.control.changes)
        assert said["who"] == "operator"
