"""What this package asks of the daemon, and nothing more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.statistics import SubscriptionStatistics
from mpsd.ports import Peer


class Daemon(Protocol):
    """The running service. Everything returns at once, from one snapshot."""

    def statistics(self) -> Sequence[SubscriptionStatistics]: ...

    def not_alive(self) -> Sequence[str]:
        """Why it should be restarted, in words; empty while all is well. What a restart would not cure is no reason."""

    def not_ready(self) -> Sequence[str]:
        """What it waits for before it has joined its groups, or that it is shutting down; empty when ready.

        An instance that was given no partition is ready.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        ok: the daemon can go on with it as it is; False is a reason to exit with 1.
        about: the subscription, or what else it is about.
        code: of what is wrong; empty if nothing is.
        advice: what to do; empty: nothing.
        works: it does its work all the same, and may cease to.
    """

    ok: bool
    about: str
    text: str
    code: str = ""
    advice: str = ""
    works: bool = False


class Steerable(Daemon, Protocol):
    """What operators see and steer."""

    @property
    def peer(self) -> Peer:
        """Where others reach it."""

    @property
    def started_at_s(self) -> float:
        """When its process started, in seconds since the epoch."""

    @property
    def pipelines(self) -> Sequence[Pipeline]:
        """The subscriptions' pipelines; none before the start."""

    async def diagnose(self) -> Sequence[Finding]:
        """Look at broker, topics and endpoints; bounded by time-outs throughout."""


class AdminSettings(NamedTuple):
    """What `[admin]` says beside the listener.

    Attributes:
        peer_timeout_s: how long another instance may take to answer.
        values: whether the role admin may see the values of records.
    """

    peer_timeout_s: float
    values: bool
