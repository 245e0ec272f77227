"""The limit of open files: connections are files, and many systems allow 1,024 of them at first, some 256.

The soft limit is the process's own to raise, up to the hard one, which only the system's administrator can.
"""

import logging
import sys
from dataclasses import dataclass

from typing_extensions import override

from mpsd.admin.daemon import Finding, warning
from mpsd.config import Config, PullDelivery, RestDelivery, StreamDelivery
from mpsd.listeners.http import Bounds

KAFKA_FILES = 64
"""Files of one subscription: consumer, producer and a reader of dead letters, each connected to some twenty brokers at most."""
OTHER_FILES = 128
"""The control and audit topics, listeners, operators, other daemons, name look-ups, and what the interpreter has open."""
ADVICE = "raise the hard limit of open files (ulimit -Hn, LimitNOFILE= of a systemd unit), or lower the bounds of connections"

log = logging.getLogger("mpsd.service")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFiles:
    """Numbers of files that may be open.

    Attributes:
        needed: at most, if every bound of the configuration is reached.
        allowed: the limit that can be had without anybody's help; None: there is none.
    """

    needed: int
    allowed: int | None

    @property
    def is_short(self) -> bool:
        return self.allowed is not None and self.allowed < self.needed

    @override
    def __str__(self) -> str:
        return (
            f"{self.needed} files may be open at a time by the bounds configured, and the system allows {self.allowed}"
        )


def needed(config: Config) -> int:
    """Return the number of files open at a time if every bound is reached."""
    files = OTHER_FILES + Bounds().connections_max + KAFKA_FILES * len(config.subscriptions)
    for delivery in (subscription.delivery for subscription in config.subscriptions):
        if isinstance(delivery, RestDelivery):
            files += delivery.concurrency_max
        elif isinstance(delivery, PullDelivery):
            files += delivery.waiters_max
    if any(isinstance(subscription.delivery, StreamDelivery) for subscription in config.subscriptions):
        files += config.stream.streams_max
    return files


if sys.platform == "win32":

    def raised(files: int) -> OpenFiles:
        """Return no limit, because Windows has none."""
        return OpenFiles(needed=files, allowed=None)

    def allowed(files: int) -> OpenFiles:
        """Return no limit, because Windows has none."""
        return OpenFiles(needed=files, allowed=None)

else:
    import resource

    def raised(files: int) -> OpenFiles:
        """Raise the soft limit as far as needed, or as far as can be. It is never lowered."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY or soft >= files:
            return OpenFiles(needed=files, allowed=None if soft == resource.RLIM_INFINITY else soft)
        wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):  # macOS has one more limit, which the hard one does not tell
            return OpenFiles(needed=files, allowed=soft)
        return OpenFiles(needed=files, allowed=wanted)

    def allowed(files: int) -> OpenFiles:
        """Return the result that `raised` would have, without changing the limit."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        is_unlimited = resource.RLIM_INFINITY in (soft, hard)
        return OpenFiles(needed=files, allowed=None if is_unlimited else hard)


def raise_limit(config: Config) -> None:
    """Raise the limit at the start; log a warning if it stays below what the configuration may need."""
    files = raised(needed(config))
    if files.is_short:
        log.warning("%s; further connections will be refused: %s", files, ADVICE, extra={"code": "service.open_files"})


def findings(config: Config) -> list[Finding]:
    """Return one finding for `--check` if the limit is too low, else none."""
    files = allowed(needed(config))
    if not files.is_short:
        return []
    return [warning("files", f"{files}; raise the hard limit", code="service.open_files", advice=ADVICE)]
