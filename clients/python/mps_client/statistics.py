"""Statistics of a subscription."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatistics:
    """The statistics of the streams to one daemon.

    Attributes:
        address: the address of its stream listener, `host:port`.
        session: the id of the stream in the daemon's log; empty: no stream is open.
        is_open: True if the stream delivers records.
        unsettled: number of its records that are not settled, queued ones included.
        connects: number of streams that were opened.
        failures: number of streams that failed, and of failed attempts to open one.
        last_error: the reason of the last failure; empty: none failed.
    """

    address: str
    session: str
    is_open: bool
    unsettled: int
    connects: int
    failures: int
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counts since the subscription was created.

    Attributes:
        received: number of deliveries, repeated ones included.
        acked: number of records that were processed.
        retried: number of records to be delivered again.
        dead_lettered: number of records for the dead-letter topic.
        withdrawn: number of deliveries that ended before a worker took them.
        unreported: number of verdicts that came after the end of their stream; these records are delivered again.
        queued: number of records that wait for a worker now.
        running: number of records that workers process now.
        daemons: the statistics of each daemon.
    """

    received: int
    acked: int
    retried: int
    dead_lettered: int
    withdrawn: int
    unreported: int
    queued: int
    running: int
    daemons: tuple[DaemonStatistics, ...]


@dataclass(slots=True)
class Counters:
    """The counters of `Statistics` that only grow."""

    received: int = 0
    acked: int = 0
    retried: int = 0
    dead_lettered: int = 0
    withdrawn: int = 0
    unreported: int = 0
