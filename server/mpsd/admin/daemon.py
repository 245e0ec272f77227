"""The interface of the daemon that the admin package uses."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mpsd.core.record import TopicPartition
from mpsd.core.resets import Move, To
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.statistics import SubscriptionStatistics
from mpsd.ports import Clock, ControlChanges, DeadLetterLog, Peer


class ControlStatistics(NamedTuple):
    """The progress of reading the control topic.

    Attributes:
        is_on: there is one.
        waiting_for: why it cannot be read now, in words; empty if it can.
        revision: offset of the last record that was applied; -1: none.
        ignored: records that were passed over, by reason, since the start.
    """

    is_on: bool
    waiting_for: str
    revision: int
    ignored: Mapping[str, int]


NO_CONTROL = ControlStatistics(is_on=False, waiting_for="", revision=-1, ignored={})


class WatchedFiles(NamedTuple):
    """Files that are read again when they change: secrets, tokens, certificates.

    Attributes:
        name: the path of the table that they belong to.
        subscription: whose table it is; empty: the whole daemon's.
        broken: why they cannot be used as they are now, so that what was read before stays in use; empty if they can.
        renewals: how often they were read again and put into use, since the start.
        failures: how often they turned out to be broken, since the start.
    """

    name: str
    subscription: str
    files: Sequence[str]
    broken: str
    renewals: int
    failures: int


class Daemon(Protocol):
    """The running service. Each method returns at once, from one snapshot."""

    @property
    def config_hash(self) -> str:
        """Return a hash of the settings that all daemons should share."""

    def statistics(self) -> Sequence[SubscriptionStatistics]: ...

    def control_statistics(self) -> ControlStatistics: ...

    def watched_files(self) -> Sequence[WatchedFiles]:
        """Return the files that are read again when they change, by what they belong to."""

    def not_alive(self) -> Sequence[str]:
        """Return the reasons to restart the process, for people; empty while there are none."""

    def not_ready(self) -> Sequence[str]:
        """Return the reasons why the daemon has not joined its groups yet, or is shutting down; empty when ready.

        An instance that was given no partition is ready.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A result of the check-up.

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


def fine(about: str, text: str) -> Finding:
    return Finding(ok=True, about=about, text=text)


def warning(about: str, text: str, code: str = "", advice: str = "") -> Finding:
    """Return a finding of what works and may cease to."""
    return Finding(ok=False, works=True, about=about, text=text, code=code, advice=advice)


def problem(about: str, text: str, code: str = "", advice: str = "") -> Finding:
    """Return a finding of what does not work."""
    return Finding(ok=False, about=about, text=text, code=code, advice=advice)


class GroupPosition(NamedTuple):
    """The position of a group in a partition.

    Attributes:
        committed: -1: nothing is.
    """

    committed: int
    log_end: int


class Members(NamedTuple):
    """A group's members, as its coordinator lists them.

    Attributes:
        is_stable: no rebalance is under way; only then the members' addresses are known.
        peers: one each; one that has not said where it is, is nowhere.
        assigned: what each of them was given in the last rebalance.
    """

    is_stable: bool
    peers: Sequence[Peer]
    assigned: Sequence[tuple[Peer, Sequence[TopicPartition]]] = ()


class Steerable(Daemon, Protocol):
    """A daemon that operators inspect and control."""

    @property
    def peer(self) -> Peer:
        """Return the addresses at which other daemons reach this one."""

    @property
    def clock(self) -> Clock:
        """Return the clock that all calls read."""

    @property
    def started_at_s(self) -> float:
        """Return the time at which the process started, in seconds since the epoch."""

    @property
    def pipelines(self) -> Sequence[Pipeline]:
        """Return the pipelines of the subscriptions."""

    @property
    def control(self) -> ControlChanges: ...

    @property
    def settings(self) -> Mapping[str, str]:
        """Return the settings in effect that all daemons should share, by path, without secrets."""

    async def diagnose(self, within_s: float) -> Sequence[Finding]:
        """Look at broker, topics and endpoints; what does not answer within the time is a finding."""

    async def members(self, group: str) -> Members:
        """Return the members of a group; raises KafkaUnavailable, KafkaRefused."""

    async def positions(self, group: str) -> Mapping[TopicPartition, GroupPosition]:
        """Return how far a group is with every partition of its topics.

        Raises:
            KafkaUnavailable, KafkaRefused: it could not be looked up.
        """

    async def moves(self, subscription: str, to: To) -> Mapping[TopicPartition, Move]:
        """Return the offset to which a reset would move each partition.

        Raises:
            KafkaUnavailable, KafkaRefused: it could not be looked up.
        """

    def dead_letters(self, subscription: str) -> AbstractAsyncContextManager[DeadLetterLog]:
        """Return the log of dead letters of a subscription, connected within the context."""

    async def partitions(self, subscription: str) -> Mapping[str, int]:
        """Return the number of partitions of each topic of the subscription; 0: the topic does not exist.

        Raises:
            KafkaUnavailable, KafkaRefused: it could not be looked up.
        """


class AdminSettings(NamedTuple):
    """The settings of the admin service.

    Attributes:
        values: whether the role admin may see the values of records.
        confirm_timeout_s: how long a change waits for all instances to apply it.
    """

    values: bool
    confirm_timeout_s: float
