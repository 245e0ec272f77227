"""SIGHUP: what can be exchanged is, what cannot is said by its path, and a broken file changes nothing."""

import asyncio
import logging
from pathlib import Path

import pytest

from mpsd.config import Config, load
from mpsd.listeners.tokens import Tokens
from mpsd.logs import Level
from mpsd.service.listener_files import watch_tokens
from mpsd.service.reload import Reconfiguration, Reloads, watch_delivery

TEXT = """
[kafka]
bootstrap_servers = ["127.0.0.1:9092"]

[admin]
tokens_file = "tokens.toml"

[[subscriptions]]
name = "billing"
topics = ["orders"]
group = "billing"
delivery = { protocol = "rest", url = "http://127.0.0.1:8000/orders", auth = { bearer = { file = "token" } } }

[[subscriptions]]
name = "mail"
topics = ["orders"]
group = "mail"
delivery = { protocol = "rest", url = "http://127.0.0.1:8000/orders" }
"""
TOKENS = '[[tokens]]\nname = "anna"\nrole = "admin"\ntoken = "{}"\n'
OLD, NEW = "old-0123456789012", "new-0123456789012"


class Stage:
    """A configuration in a folder, with two users of its files."""

    def __init__(self, folder: Path) -> None:
        self.file, self.token, self.tokens_file = folder / "mps.toml", folder / "token", folder / "tokens.toml"
        self.write(TEXT)
        self.token.write_text("first")
        self.tokens_file.write_text(TOKENS.format(OLD))
        self.config = self.load()
        self.reloads = Reloads(60.0)
        self.used: list[str] = []
        self.levels: list[Level] = []
        self.done = asyncio.Event()
        watch_delivery(
            self.reloads, self.config, self.config.subscriptions[0], lambda _: self.used,
            lambda used, given: used.append(repr(given.auth)),
        )  # fmt: skip
        tokens = watch_tokens(self.reloads, self.config, "admin")
        assert tokens is not None
        self.tokens: Tokens = tokens
        self.reconfiguration = Reconfiguration(self.load, self.note_level)

    def load(self) -> Config:
        return load(self.file, {})

    def note_level(self, level: Level) -> None:
        self.levels.append(level)
        self.done.set()

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def rewrite(self, old: str, new: str) -> None:
        assert old in self.file.read_text()
        self.write(self.file.read_text().replace(old, new))

    async def hang_up(self) -> None:
        """Ask, and wait until it is done."""
        await self.reconfiguration.reload(self.config, self.reloads)


@pytest.fixture
async def stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Stage:
    caplog.set_level(logging.INFO, "mpsd.reload")
    return Stage(tmp_path)


def said(caplog: pytest.LogCaptureFixture, code: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if vars(record)["code"] == code]


async def test_files_and_the_level_are_exchanged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.token.write_text("second")
    stage.tokens_file.write_text(TOKENS.format(NEW))
    stage.write(TEXT + '[logging]\nlevel = "debug"\n')
    await stage.hang_up()
    assert (len(stage.used), stage.levels) == (1, ["debug"])
    assert (stage.tokens.caller(f"Bearer {OLD}"), stage.tokens.caller(f"Bearer {NEW}") is None) == (None, False)
    assert not said(caplog, "reload.needs_restart")
    (done,) = said(caplog, "reload.done")
    assert done.endswith("are in use")


async def test_another_file_for_a_secret_is_used(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    stage.rewrite('file = "token"', 'file = "other"')
    await stage.hang_up()
    assert stage.used == ["Auth(basic=None, bearer=<Secret file='other'>)"]
    (tmp_path / "other").write_text("changed")
    await stage.reloads.look()
    assert len(stage.used) == 2, "the new file is looked after from now on"


async def test_nothing_that_is_as_before_is_exchanged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    await stage.hang_up()
    assert not stage.used
    assert not said(caplog, "reload.renewed")


async def test_what_needs_a_restart_is_said_by_its_path_and_kept(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.write("limits = { pending_bytes_max = 70_000_000 }\n" + TEXT.replace('"127.0.0.1:9092"', '"127.0.0.1:9093"'))
    stage.rewrite('name = "mail"', 'name = "post"')
    stage.rewrite(", auth = {", ", retry_after_max_s = 1.0, auth = {")
    stage.rewrite('tokens_file = "tokens.toml"\n', "")
    await stage.hang_up()
    (line,) = said(caplog, "reload.needs_restart")
    assert line == (
        "kafka.bootstrap_servers, limits.pending_bytes_max, admin.tokens_file,"
        " subscriptions[0].delivery.retry_after_max_s (billing),"
        " subscriptions[1] (mail, which is gone), subscriptions[1] (post, which is new):"
        " changed, which needs a restart; the running settings stay in use until then"
    )
    assert stage.tokens.caller(f"Bearer {OLD}") is not None
    (finding,) = stage.reconfiguration.findings()
    assert (finding.ok, finding.works, finding.code) == (False, True, "reload.needs_restart")
    assert "kafka.bootstrap_servers" in finding.text
    stage.write(TEXT)
    await stage.hang_up()
    assert not stage.reconfiguration.findings()


async def test_a_secret_that_was_not_there_is_used_where_the_delivery_can(stage: Stage) -> None:
    stage.rewrite(', auth = { bearer = { file = "token" } }', ', headers = { X-Team = "billing" }')
    await stage.hang_up()
    assert stage.used == ["None"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[kafka", "is not TOML"),
        (TEXT.replace('group = "mail"', ""), "subscriptions[1].group (mail): is required"),
        (TEXT + '[logging]\nlevel = "loud"\n', "logging.level"),
    ],
)
async def test_a_broken_file_is_said_as_check_says_it_and_changes_nothing(
    stage: Stage, text: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage.token.write_text("second")
    stage.write(text)
    await stage.hang_up()
    (line,) = said(caplog, "reload.refused")
    assert problem in line
    assert line.endswith("the last good one stays in use")
    assert (stage.used, stage.levels) == ([], [])


async def test_an_empty_secret_refuses_the_whole(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.token.write_text("")
    stage.tokens_file.write_text(TOKENS.format(NEW))
    await stage.hang_up()
    (line,) = said(caplog, "reload.refused")
    assert "subscriptions[0].delivery.auth.bearer (billing): the file token is empty" in line
    assert stage.tokens.caller(f"Bearer {OLD}") is not None


async def test_a_broken_tokens_file_keeps_the_tokens_and_the_rest_is_exchanged(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.tokens_file.write_text("nonsense")
    stage.token.write_text("second")
    await stage.hang_up()
    await stage.reloads.look()
    await stage.reloads.look()
    (line,) = said(caplog, "reload.kept")
    assert "tokens_file" in line
    (done,) = said(caplog, "reload.done")
    assert done.endswith("except those named above")
    assert len(stage.used) == 1
    assert stage.tokens.caller(f"Bearer {OLD}") is not None


async def test_requests_at_once_are_one(stage: Stage) -> None:
    async with stage.reconfiguration.running(stage.config, stage.reloads):
        for _ in range(3):
            stage.reconfiguration.ask()
        async with asyncio.timeout(10):
            await stage.done.wait()
    assert stage.levels == ["info"]
