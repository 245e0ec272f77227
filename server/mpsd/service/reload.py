"""Renewal while the daemon runs: of secrets, tokens and certificates in files, and of the configuration at SIGHUP.

A `Watched` is one part of the configuration and its user. The files of the part are compared by content at each look; when
one differs, the part is read again as a whole and handed to the user, who takes all of it or nothing. A broken file changes
nothing: the part stays in use as it was. `Reconfiguration` reads the whole configuration again, puts into use what can be
exchanged, and names the keys that need a restart.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from typing_extensions import override

from mpsd.admin.daemon import Finding, WatchedFiles, warning
from mpsd.config import Config, RestDelivery, Secret, Security, Subscription
from mpsd.config.files import Part, files_of, fingerprints, read_again
from mpsd.config.problems import Path, dotted
from mpsd.errors import ConfigError
from mpsd.kafka.connection import ClientOptions
from mpsd.logs import Level

log = logging.getLogger("mpsd.reload")

User = TypeVar("User")
LOOKS_APART_S_MIN = 0.1
"""Between two looks for which refused requests ask: a hundred of them may be answered at once."""


class Watched(Generic[Part, User]):
    """One part of the configuration and its user, who gets the part again when its files change.

    The watch makes the user, because it has to see the files before they are used for the first time.

    Attributes:
        path: where the part stands in the configuration.
        part: as it is in use.
        user: has what it was made of, and renews it.
        broken: why the files cannot be used as they are now; empty if they can, or were not yet seen twice.
        renewals: how often the part was put into use again.
        failures: how often files turned out to be broken.
    """

    def __init__(
        self,
        path: Path,
        of: Callable[[Config], Part],
        config: Config,
        make: "Callable[[Watched[Part, User]], User]",
        renew: Callable[[User, Part], None],
        subscription: str = "",
        covers: Sequence[Path] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch a part of a configuration.

        Args:
            of: finds the part in a configuration; raises LookupError where it has none.
            make: makes the user of `part`; raises ConfigError.
            renew: lets the user use another part, all of it or nothing; raises ConfigError for nothing.
            covers: paths of all keys that reach the user through the part; none: `path` alone.
        """
        self.path = path
        self.of = of
        self.covers = tuple(covers) or (path,)
        self.subscription = subscription
        self._clock = clock
        part = of(config)
        self._whose = {"subscription": subscription} if subscription else {}
        self.part = part
        self._renew = renew
        self.files = files_of(part)
        self.broken = ""
        self.renewals = self.failures = 0
        self._looked_s = float("-inf")
        self._in_use: tuple[str, ...] = ()
        self._refused: tuple[str, ...] = ()
        self._suspected: tuple[str, ...] = ()
        self._problem = ""
        seen = fingerprints(self.files)
        if self._is_unchanged():
            self._in_use = seen
        self.user = make(self)

    def look_soon(self) -> None:
        """Look now, unless that was done a moment ago: for requests that were refused."""
        if self._clock() - self._looked_s >= LOOKS_APART_S_MIN:
            self.look()

    def look(self) -> bool:
        """Compare the files with what is in use, and use them if they differ; return True if they are used now."""
        seen = fingerprints(self.files)
        self._looked_s = self._clock()
        if seen == self._in_use:
            self._forget_problem()
            return False
        if seen == self._refused:
            return False
        try:
            self._take(read_again(self.part, self.path))
        except (ConfigError, OSError) as error:
            self._refused, self._problem = seen, describe_error(error)
            return False
        changed = [file for file, old, new in zip(self.files, self._in_use or seen, seen, strict=True) if old != new]
        self._in_use = seen
        self._note_renewal(changed)
        return True

    def replace(self, part: Part) -> None:
        """Use another part, from a configuration that was loaded again.

        Raises:
            ConfigError: it cannot be used; the part as it was stays in use.
        """
        files = files_of(part)
        seen = fingerprints(files)
        self._take(part)
        self.files, self._in_use = files, seen
        self._note_renewal([])

    def complain(self, *, at_once: bool = False) -> bool:
        """Say once that the files are broken, where two looks have found them so: they may be written at this moment.

        Args:
            at_once: one look is enough, as somebody has said that they are complete.

        Returns:
            True if they are broken.
        """
        if self._refused and (at_once or self._refused == self._suspected) and self.broken != self._problem:
            self.broken = self._problem
            self.failures += 1
            extra = {"code": "reload.kept", **self._whose}
            log.error("%s cannot be reloaded: %s; the last good version stays in use", self, self.broken, extra=extra)
        self._suspected = self._refused
        return bool(self.broken)

    def statistics(self) -> WatchedFiles:
        """Return what operators see of it."""
        return WatchedFiles(
            name=dotted(self.path),
            subscription=self.subscription,
            files=tuple(self.files),
            broken=self.broken,
            renewals=self.renewals,
            failures=self.failures,
        )

    @override
    def __str__(self) -> str:
        return dotted(self.path) + (f" ({self.subscription})" if self.subscription else "")

    def _take(self, part: Part) -> None:
        self._renew(self.user, part)
        self.part = part

    def _is_unchanged(self) -> bool:
        try:
            return bool(read_again(self.part, self.path) == self.part)
        except ConfigError:  # gone since it was loaded: said when two looks have found it so
            return False

    def _note_renewal(self, changed: Sequence[str]) -> None:
        self._refused = self._suspected = ()
        self._problem = self.broken = ""
        self.renewals += 1
        why = f"{', '.join(changed)} changed" if changed else "the configuration was reloaded"
        extra = {"code": "reload.renewed", **self._whose}
        log.info("%s was reloaded: %s; the new version is in use", self, why, extra=extra)

    def _forget_problem(self) -> None:
        if self.broken:
            extra = {"code": "reload.usable_again", **self._whose}
            log.info("%s can be used again: its files have their former content", self, extra=extra)
        self._refused = self._suspected = ()
        self._problem = self.broken = ""


def describe_error(error: ConfigError | OSError) -> str:
    """Return what is wrong, without the path of the part, which the one who says it names."""
    if isinstance(error, ConfigError):
        return "; ".join(problem.message for problem in error.problems)
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


class Reloads:
    """All that files can change while the daemon runs, looked at every so often.

    Args:
        interval_s: between two looks.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self.watched: list[Watched[Any, Any]] = []

    def watch(
        self,
        path: Path,
        of: Callable[[Config], Part],
        config: Config,
        make: Callable[[Watched[Part, User]], User],
        renew: Callable[[User, Part], None],
        subscription: str = "",
        covers: Sequence[Path] = (),
    ) -> Watched[Part, User]:
        """Return a part that is looked after from now on; see `Watched`."""
        watched = Watched(path, of, config, make, renew, subscription, covers)
        self.watched.append(watched)
        return watched

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look again and again within the context."""
        looking = asyncio.create_task(self._run(), name="reloads")
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.look()

    async def look(self) -> None:
        """Look at everything once; files are read beside the loop, as a file system may take its time."""
        for watched in list(self.watched):
            if watched.files:
                await asyncio.to_thread(fingerprints, watched.files)
                watched.look()
                watched.complain()

    def statistics(self) -> Sequence[WatchedFiles]:
        """Return what operators see of each part that has files."""
        return [watched.statistics() for watched in self.watched if watched.files]


log = logging.getLogger("mpsd.reload")

LEVEL: Path = ("logging", "level")
NEEDS_RESTART = "changed, which needs a restart"


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
        advice = "restart the daemon"
        return [warning("this daemon", text, code="reload.needs_restart", advice=advice)]

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
                "the configuration cannot be reloaded: %s; the last good one stays in use",
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
                "%s: %s; the running settings stay in use until then",
                ", ".join(self._pending),
                NEEDS_RESTART,
                extra={"code": "reload.needs_restart"},
            )
        log.info(
            "the configuration was reloaded: secrets, tokens, certificates and logging.level are in use%s",
            ", except those named above" if kept or self._pending else "",
            extra={"code": "reload.done"},
        )


def has_part(watched: Watched[Any, Any], loaded: Config) -> bool:
    """Return True if a configuration still has the part: what it lacks cannot be exchanged."""
    try:
        watched.of(loaded)
    except LookupError:
        return False
    return True


def is_kept(watched: Watched[Any, Any], loaded: Config) -> bool:
    """Put a part of a configuration that was loaded again into use; return True if that failed, which is logged then."""
    part = watched.of(loaded)
    if part == watched.part:
        watched.look()
        return watched.complain(at_once=True)
    try:
        watched.replace(part)
    except (ConfigError, OSError) as error:
        extra = {"code": "reload.kept"}
        log.error(
            "%s cannot be reloaded: %s; the last good version stays in use", watched, describe_error(error), extra=extra
        )
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


DELIVERY_KEYS = ("headers", "auth", "webhook_secrets", "tls")
"""Keys of a delivery that can be exchanged while it runs."""
SECURITY_KEYS = ("ca", "cert", "key", "username", "password")
"""Keys of `kafka.security` that can be exchanged while the daemon runs."""


def watch_delivery(
    reloads: Reloads,
    config: Config,
    subscription: Subscription,
    make: Callable[[Watched[RestDelivery, User]], User],
    renew: Callable[[User, RestDelivery], None],
) -> Watched[RestDelivery, User]:
    """Return the delivery of a subscription by REST and its user; see `Watched`."""
    delivery = subscription.delivery
    assert isinstance(delivery, RestDelivery)

    def keys(loaded: RestDelivery) -> Sequence[str]:
        """Return the keys to exchange; the URL is one of them if it is the same secret file, whose path or query may change."""
        match delivery.url, loaded.url:
            case Secret(kind=kind, file=file), Secret(kind=other_kind, file=other) if (kind, file) == (
                other_kind,
                other,
            ):
                return (*DELIVERY_KEYS, "url")
            case _:
                return DELIVERY_KEYS

    def of(loaded: Config) -> RestDelivery:
        for each in loaded.subscriptions:
            if each.name == subscription.name and isinstance(each.delivery, RestDelivery):
                return delivery.model_copy(update={key: getattr(each.delivery, key) for key in keys(each.delivery)})
        raise LookupError(subscription.name)

    path = ("subscriptions", config.subscriptions.index(subscription), "delivery")
    return reloads.watch(path, of, config, make, renew, subscription.name, [(*path, key) for key in DELIVERY_KEYS])


def watch_security(reloads: Reloads, config: Config, options: ClientOptions) -> None:
    """Let all Kafka clients connect with the password and the certificates of the time."""

    def of(loaded: Config) -> Security:
        return config.kafka.security.model_copy(
            update={key: getattr(loaded.kafka.security, key) for key in SECURITY_KEYS}
        )

    path = ("kafka", "security")
    covers = [(*path, key) for key in SECURITY_KEYS]
    reloads.watch(path, of, config, lambda _: options, ClientOptions.renew, covers=covers)
