"""What this package asks of the daemon, and nothing more."""

from collections.abc import Sequence
from typing import Protocol

from mpsd.pipeline.statistics import SubscriptionStatistics


class Daemon(Protocol):
    """The running service. Everything returns at once, from one snapshot."""

    def statistics(self) -> Sequence[SubscriptionStatistics]: ...

    def not_alive(self) -> Sequence[str]:
        """Why it should be restarted, in words; empty while all is well. What a restart would not cure is no reason."""

    def not_ready(self) -> Sequence[str]:
        """What it waits for before it has joined its groups, or that it is shutting down; empty when ready.

        An instance that was given no partition is ready.
        """
