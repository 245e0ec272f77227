"""SIGHUP: the configuration is read again, what can be exchanged is, and what cannot is said and kept."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel

from mpsd.admin.daemon import Finding
from mpsd.config import Config, Secret, Subscription
from mpsd.config.problems import Path, dotted
from mpsd.errors import ConfigError
from mpsd.logs import Level
from mpsd.service.reloads import Reloads, Watched, words

log = logging.getLogger("mpsd.reload")

LEVEL: Path = ("logging", "level")
NEEDS_RESTART = "changed, and needs a restart"


class Reconfiguration:
    """Reads the configuration again whenever somebody asks for it.

    Args:
        load: reads the configuration as the start did; raises ConfigError.
        set_level: changes what is left out of the log.
    """

    def __init__(self, load: Callable[[], Config], set_level: Callable[[Level], None]) -> None:
        self._load = load
        self._set_level = set_level
        self._asked = asyncio.Event()
        self._pending: Sequence[str] = ()

    def findings(self) -> Sequence[Finding]:
        """Return what a check-up should say: keys that were changed in the file, and wait for a restart."""
        if not self._pending:
            return ()
        text = f"{', '.join(self._pending)}: {NEEDS_RESTART}"
        advice = "restart the daemon when it suits you"
        return [
            Finding(ok=False, works=True, about="this daemon", text=text, code="reload.needs_restart", advice=advice)
        ]

    def ask(self) -> None:
        """Read the configuration again, soon; several requests at once are one."""
        self._asked.set()

    @asynccontextmanager
    async def running(self, started_with: Config, reloads: Reloads) -> AsyncIterator[None]:
        """Do what is asked for within the context.

        Args:
            started_with: the configuration of the start, with which one that is loaded again is compared.
        """
        reloading = asyncio.create_task(self._run(started_with, reloads), name="reload")
        try:
            yield
        finally:
            reloading.cancel()
            await asyncio.gather(reloading, return_exceptions=True)

    async def _run(self, started_with: Config, reloads: Reloads) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload(started_with, reloads)

    async def reload(self, started_with: Config, reloads: Reloads) -> None:
        """Read the configuration again and put into use what can be; log the rest."""
        try:
            loaded = await asyncio.to_thread(self._load)
        except ConfigError as error:
            problems = " / ".join(map(str, error.problems))
            log.error(
                "the configuration cannot be reloaded: %s; the one that was read before stays in use",
                problems,
                extra={"code": "reload.refused"},
            )
            return
        self._set_level(loaded.logging.level)
        found = [watched for watched in reloads.watched if has_part(watched, loaded)]
        kept = [watched for watched in found if is_kept(watched, loaded)]
        covered = {path for watched in found for path in watched.covers} | {LEVEL}
        self._pending = [
            f"{dotted(path)}{whose}"
            for path, whose in differences(started_with, loaded)
            if not any(path[: len(each)] == each for each in covered)
        ]
        if self._pending:
            log.warning(
                "%s: %s; what runs is kept until then",
                ", ".join(self._pending),
                NEEDS_RESTART,
                extra={"code": "reload.needs_restart"},
            )
        log.info(
            "the configuration was read again: secrets, tokens, certificates and logging.level are as it says%s",
            ", but for what is named above" if kept or self._pending else "",
            extra={"code": "reload.done"},
        )


def has_part(watched: Watched[Any], loaded: Config) -> bool:
    """Return True if a configuration still has the part: what it lacks cannot be exchanged."""
    try:
        watched.of(loaded)
    except LookupError:
        return False
    return True


def is_kept(watched: Watched[Any], loaded: Config) -> bool:
    """Put a part of a configuration that was loaded again into use; return True if that failed, which is logged then."""
    part = watched.of(loaded)
    if part == watched.part:
        watched.look()
        return watched.complain(at_once=True)
    try:
        watched.replace(part)
    except (ConfigError, OSError) as error:
        extra = {"code": "reload.kept"}
        log.error("%s cannot be read again: %s; what was read before stays in use", watched, words(error), extra=extra)
        return True
    return False


def differences(one: Config, other: Config) -> Iterator[tuple[Path, str]]:
    """Yield the path of each key that differs, with the name of its subscription in brackets.

    Subscriptions are told apart by their names; indices are those of `one`. A secret differs where it comes from elsewhere.
    """
    yield from ((path, "") for path in _differences(one, other, ()))
    theirs = {each.name: each for each in other.subscriptions}
    for index, each in enumerate(one.subscriptions):
        path: Path = ("subscriptions", index)
        if each.name not in theirs:
            yield path, f" ({each.name}, which is gone)"
        else:
            yield from ((found, f" ({each.name})") for found in _differences(each, theirs.pop(each.name), path))
    for each in theirs.values():
        yield ("subscriptions", list(other.subscriptions).index(each)), f" ({each.name}, which is new)"


def _differences(one: BaseModel, other: BaseModel, path: Path) -> Iterator[Path]:
    for name in type(one).model_fields:
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, BaseModel) and type(mine) is type(theirs):
            yield from _differences(mine, theirs, (*path, name))
        elif not _is_same(mine, theirs):
            yield (*path, name)


def _is_same(mine: object, theirs: object) -> bool:
    match mine, theirs:
        case Secret(), Secret():
            return (mine.kind, mine.name, mine.file) == (theirs.kind, theirs.name, theirs.file)
        case tuple(), tuple() if all(isinstance(each, Subscription) for each in (*mine, *theirs)):
            return True  # compared by name
        case _:
            return mine == theirs
