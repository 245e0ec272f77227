"""Statistics of a subscription."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatistics:
    """One daemon's share.

    Attributes:
        is_open: whether its stream takes and gives.
        held: records it gave that are not settled, queued ones among them.
        connects: streams that were opened.
        failures: streams that ended otherwise than by our leaving, and attempts that opened none.
        last_error: why the last one ended; empty: none did.
    """

    address: str
    session: str
    is_open: bool
    held: int
    connects: int
    failures: int
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counts since the subscription was made.

    Attributes:
        received: deliveries, repeated ones among them.
        withdrawn: deliveries that ended before a worker took them, as their stream did.
        unsaid: records that were processed, or not, when their stream was gone already: they come again.
        queued: records that wait for a worker now.
        running: records at workers now.
    """

    received: int
    acked: int
    retried: int
    dead_lettered: int
    withdrawn: int
    unsaid: int
    queued: int
    running: int
    daemons: tuple[DaemonStatistics, ...]


@dataclass(slots=True)
class Counters:
    """The part that grows."""

    received: int = 0
    acked: int = 0
    retried: int = 0
    dead_lettered: int = 0
    withdrawn: int = 0
    unsaid: int = 0
