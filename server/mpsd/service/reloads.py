"""Secrets, tokens and certificates that change in their files while the daemon runs.

A `Watched` is one part of the configuration and the one who uses it. Its files are compared by content at each look; where
one differs, the part is read again as a whole and handed to its user, who takes all of it or nothing. What is broken
meanwhile changes nothing: the part as it was stays in use.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic

from typing_extensions import override

from mpsd.admin.daemon import WatchedFiles
from mpsd.config import Config
from mpsd.config.files import Part, files_of, fingerprints, read_again
from mpsd.config.problems import Path, dotted
from mpsd.errors import ConfigError

log = logging.getLogger("mpsd.reload")

LOOKS_APART_S_MIN = 0.1
"""Between two looks for which refused requests ask: a hundred of them may be answered at once."""


class Watched(Generic[Part]):
    """One part of the configuration, put into use again when its files change.

    To be made before the files are used for the first time, so that no change falls between.

    Attributes:
        path: where the part stands in the configuration.
        part: as it is in use.
        use: puts a part into use, all of it or nothing; raises ConfigError for nothing. Set by who made it.
        broken: why the files cannot be used as they are now; empty if they can, or were not yet seen twice.
        renewals: how often the part was put into use again.
        failures: how often files turned out to be broken.
        renewed_at_s: when it was last put into use again, in seconds since the epoch; 0: never.
    """

    def __init__(
        self,
        path: Path,
        of: Callable[[Config], Part],
        config: Config,
        subscription: str = "",
        covers: Sequence[Path] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch a part of a configuration.

        Args:
            of: finds the part in a configuration; raises LookupError where it has none.
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
        self.use: Callable[[Part], None] = lambda _: None
        self.files = files_of(part)
        self.broken = ""
        self.renewals = self.failures = 0
        self.renewed_at_s = 0.0
        self._looked_s = float("-inf")
        self._in_use: tuple[str, ...] = ()
        self._refused: tuple[str, ...] = ()
        self._suspected: tuple[str, ...] = ()
        self._problem = ""
        seen = fingerprints(self.files)
        if self._is_unchanged():
            self._in_use = seen

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
            self._refused, self._problem = seen, words(error)
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
            log.error("%s cannot be read again: %s; what was read before stays in use", self, self.broken, extra=extra)
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
            renewed_at_s=self.renewed_at_s,
        )

    @override
    def __str__(self) -> str:
        return dotted(self.path) + (f" ({self.subscription})" if self.subscription else "")

    def _take(self, part: Part) -> None:
        self.use(part)
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
        self.renewed_at_s = time.time()
        why = f"{', '.join(changed)} changed" if changed else "its configuration was loaded again"
        extra = {"code": "reload.renewed", **self._whose}
        log.info("%s was read again: %s; it is in use from now on", self, why, extra=extra)

    def _forget_problem(self) -> None:
        if self.broken:
            extra = {"code": "reload.usable_again", **self._whose}
            log.info(
                "%s can be used again: its files are as they were before; nothing is left to do", self, extra=extra
            )
        self._refused = self._suspected = ()
        self._problem = self.broken = ""


def words(error: ConfigError | OSError) -> str:
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
        self.watched: list[Watched[Any]] = []

    def watch(
        self,
        path: Path,
        of: Callable[[Config], Part],
        config: Config,
        subscription: str = "",
        covers: Sequence[Path] = (),
    ) -> Watched[Part]:
        """Return a part that is looked after from now on; see `Watched`."""
        watched = Watched(path, of, config, subscription, covers)
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
