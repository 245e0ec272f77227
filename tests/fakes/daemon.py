"""A daemon for the listeners: statistics and health that a test sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mpsd.admin.daemon import NO_CONTROL, ControlStatistics, WatchedFiles
from mpsd.pipeline.statistics import SubscriptionStatistics


@dataclass
class QuietDaemon:
    """`admin.daemon.Daemon`.

    Attributes:
        broken: asked for statistics, it raises.
    """

    subscriptions: Sequence[SubscriptionStatistics] = ()
    dead: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    watched: Sequence[WatchedFiles] = ()
    control: ControlStatistics = NO_CONTROL
    broken: bool = False
    config_hash: str = "a1b2c3"

    def statistics(self) -> Sequence[SubscriptionStatistics]:
        if self.broken:
            raise RuntimeError("a bug")
        return self.subscriptions

    def not_alive(self) -> Sequence[str]:
        return self.dead

    def watched_files(self) -> Sequence[WatchedFiles]:
        return self.watched

    def control_statistics(self) -> ControlStatistics:
        return self.control

    def not_ready(self) -> Sequence[str]:
        return self.waiting
