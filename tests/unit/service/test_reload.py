"""Files that change while the daemon runs: taken as a whole, or not at all."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpsd.config import Config, RestDelivery, reveal, validate
from mpsd.errors import ConfigError, Problem
from mpsd.service.reload import Reloads, Watched

PATH = ("subscriptions", 0, "delivery")
Break = Callable[[Path], None]


def configured(directory: Path, **delivery: Any) -> Config:
    tree = {
        "kafka": {"bootstrap_servers": ["a:1"]},
        "subscriptions": [
            {
                "name": "billing",
                "topics": ["orders"],
                "group": "billing",
                "delivery": {"protocol": "rest", "url": "http://app", **delivery},
            }
        ],
    }
    return validate(tree, directory=directory)


def rest(config: Config) -> RestDelivery:
    delivery = config.subscriptions[0].delivery
    assert isinstance(delivery, RestDelivery)
    return delivery


def write(file: Path, text: str) -> None:
    file.write_text(text)


class User:
    """Notes what it is told to use."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.refuses = ""

    def use(self, delivery: RestDelivery) -> None:
        assert delivery.auth is not None
        assert delivery.auth.bearer is not None
        token = reveal(delivery.auth.bearer)
        if token == self.refuses:
            raise ConfigError([Problem(path="x", message="no such thing")])
        self.tokens.append(token)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


@pytest.fixture
def user() -> User:
    return User()


@pytest.fixture
def reloads() -> Reloads:
    return Reloads(60.0)


@pytest.fixture
def watched(reloads: Reloads, token: Path, user: User) -> Watched[RestDelivery, User]:
    config = configured(token.parent, auth={"bearer": {"file": "token"}})
    return reloads.watch(PATH, rest, config, lambda _: user, User.use, "billing")


async def test_a_file_that_is_as_it_was_changes_nothing(reloads: Reloads, token: Path, user: User) -> None:
    config = configured(token.parent, auth={"bearer": {"file": "token"}})
    watched = reloads.watch(PATH, rest, config, lambda _: user, User.use)
    await reloads.look()
    os.utime(token, (1, 1))
    await reloads.look()
    assert (user.tokens, watched.renewals) == ([], 0)


def test_a_change_is_used_once(watched: Watched[RestDelivery, User], token: Path, user: User) -> None:
    write(token, "second\n")
    assert watched.look()
    assert not watched.look()
    assert user.tokens == ["second"]
    assert (watched.statistics().renewals, watched.statistics().failures) == (1, 0)


def test_a_change_between_the_loading_and_the_watch_is_not_missed(token: Path, user: User) -> None:
    config = configured(token.parent, auth={"bearer": {"file": "token"}})
    write(token, "second")
    watched = Watched(PATH, rest, config, lambda _: user, User.use)
    watched.look()
    assert user.tokens == ["second"]


def test_a_symbolic_link_swapped_as_kubernetes_does(tmp_path: Path, user: User) -> None:
    """A mounted secret: `token` → `..data/token`, `..data` → a folder a version, swapped by a rename."""

    def publish(version: str, text: str) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / "token").write_text(text)
        (tmp_path / "..tmp").symlink_to(version)
        (tmp_path / "..tmp").rename(tmp_path / "..data")

    publish("..v1", "first")
    (tmp_path / "token").symlink_to("..data/token")
    config = configured(tmp_path, auth={"bearer": {"file": "token"}})
    watched = Watched(PATH, rest, config, lambda _: user, User.use)
    publish("..v2", "second")
    watched.look()
    publish("..v3", "third")
    watched.look()
    assert user.tokens == ["second", "third"]


def empty(file: Path) -> None:
    file.write_text("\n")


def gone(file: Path) -> None:
    file.unlink()


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def unreadable(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def binary(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")


def two_lines(file: Path) -> None:
    file.write_text("a\nX-Forged: b")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (empty, "the file token is empty"),
        (gone, "No such file"),
        (directory, "Is a directory"),
        (pipe, "is not a regular file"),
        (unreadable, "symbolic links"),
        (binary, "is not UTF-8"),
        (two_lines, "line break"),
    ],
)
async def test_a_broken_file_keeps_the_old_value_and_is_said_once(
    reloads: Reloads,
    watched: Watched[RestDelivery, User],
    token: Path,
    user: User,
    spoil: Break,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mpsd.reload")
    spoil(token)
    await reloads.look()
    assert not caplog.messages, "it may be written at this very moment"
    for _ in range(3):
        await reloads.look()
    (line,) = caplog.records
    assert said in line.message
    assert line.message.endswith("the last good version stays in use")
    assert (line.levelname, line.code, line.subscription) == ("ERROR", "reload.kept", "billing")  # type: ignore[attr-defined]
    (shown,) = reloads.statistics()
    assert said in shown.broken
    assert (shown.renewals, shown.failures, user.tokens) == (0, 1, [])


async def test_a_mended_file_is_used(
    reloads: Reloads, watched: Watched[RestDelivery, User], token: Path, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    empty(token)
    await reloads.look()
    await reloads.look()
    assert watched.broken
    write(token, "second")
    await reloads.look()
    assert user.tokens == ["second"]
    assert not watched.statistics().broken


async def test_a_file_that_is_as_before_is_no_change(
    reloads: Reloads, watched: Watched[RestDelivery, User], token: Path, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mpsd.reload")
    empty(token)
    await reloads.look()
    await reloads.look()
    write(token, "first\n")
    await reloads.look()
    assert (user.tokens, watched.broken, watched.renewals) == ([], "", 0)
    assert caplog.messages[-1].startswith("subscriptions[0].delivery (billing) can be used again")


async def test_what_the_user_refuses_is_not_used(
    reloads: Reloads, watched: Watched[RestDelivery, User], token: Path, user: User
) -> None:
    user.refuses = "second"
    write(token, "second")
    await reloads.look()
    await reloads.look()
    assert watched.broken == "no such thing"
    assert watched.part.auth is not None
    assert watched.part.auth.bearer is not None
    assert reveal(watched.part.auth.bearer) == "first"


def test_refused_requests_do_not_look_all_at_once(token: Path, user: User) -> None:
    now_s = 100.0
    config = configured(token.parent, auth={"bearer": {"file": "token"}})
    watched = Watched(PATH, rest, config, lambda _: user, User.use, clock=lambda: now_s)
    watched.look_soon()
    write(token, "second")
    watched.look_soon()
    assert not user.tokens
    now_s += 1
    watched.look_soon()
    assert user.tokens == ["second"]


async def test_files_are_looked_at_every_so_often(token: Path) -> None:
    reloads, user = Reloads(0.001), User()
    used = asyncio.Event()

    def use(user: User, delivery: RestDelivery) -> None:
        user.use(delivery)
        used.set()

    config = configured(token.parent, auth={"bearer": {"file": "token"}})
    reloads.watch(PATH, rest, config, lambda _: user, use)
    async with reloads.running():
        write(token, "second")
        async with asyncio.timeout(10):
            await used.wait()
    assert user.tokens[-1] == "second"


async def test_what_has_no_files_is_not_looked_after(reloads: Reloads, user: User, tmp_path: Path) -> None:
    reloads.watch(PATH, rest, configured(tmp_path), lambda _: user, User.use)
    await reloads.look()
    assert not reloads.statistics()
