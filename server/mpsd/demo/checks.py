"""The end of the demo: what was seen of the run is put before the guarantees.

The application wrote down when each delivery began and ended; the records produced, the dead letters and the committed
offsets come from Kafka itself. Nothing that is judged here was said by the daemon.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mpsd.core.outcome import Delivered, Retryable
from mpsd.core.record import Record, TopicPartition
from mpsd.demo.guarantees import Judge, every_guarantee, read_events
from mpsd.demo.guarantees.events import (
    Committed,
    DeadLettered,
    DeliveryEnded,
    LogEnd,
    OutageBegan,
    OutageEnded,
    Produced,
    SeenRecord,
    TimedEvent,
)
from mpsd.demo.guarantees.guarantee import RecordPosition

AT_ONCE_MIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was seen of a run.

    Attributes:
        produced: every record that the broker acknowledged.
        poison: how many of them the application never accepts.
        flaky: how many fail twice.
        event_log: lines that the application wrote.
        dead_letters: records of the dead-letter topic.
        commits: offsets that the group was seen to have committed, in the order of time.
        clean_stop: whether the daemon ended with 0 when it was asked to end; None if it was not asked.
        wall_clock_s: seconds since the epoch at the zero of the clock that the other times are on.
    """

    produced: Sequence[Record]
    poison: int
    flaky: int
    event_log: Iterable[str]
    dead_letters: Sequence[Record]
    commits: Sequence[Committed]
    log_end: Mapping[TopicPartition, int]
    clean_stop: bool | None
    wall_clock_s: float


class Check(NamedTuple):
    """One promise and whether it was kept; `fault` says what is wrong, and is empty if nothing is."""

    guarantee: str
    promise: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The result of judging the evidence.

    Attributes:
        delivering_s: from the start of the first delivery to the end of the last.
    """

    checks: Sequence[Check]
    produced: int
    accepted: int
    dead_lettered: int
    retried: int
    delivering_s: float
    outage_s: float

    @property
    def hold(self) -> bool:
        return not any(check.fault for check in self.checks)


def find(evidence: Evidence) -> Findings:
    """Judge a run.

    Raises:
        EventLogError: the application's log cannot be read.
    """
    application = list(read_events(evidence.event_log))
    dead_letters = [_dead_lettered(record, evidence.wall_clock_s) for record in evidence.dead_letters]
    story: list[TimedEvent] = sorted([*application, *dead_letters, *evidence.commits], key=lambda event: event.at_s)
    judge = Judge(every_guarantee(at_once_min=AT_ONCE_MIN))
    judge.see_all(Produced(record) for record in evidence.produced)
    judge.see_all(story)
    judge.see_all(LogEnd(tp, next_offset) for tp, next_offset in evidence.log_end.items())
    checks = [
        Check(type(verdict.guarantee).__name__, verdict.guarantee.promise, _fault(verdict.broken))
        for verdict in judge.verdicts()
    ]
    ended = [event for event in application if isinstance(event, DeliveryEnded)]
    accepted = len({RecordPosition.of(event.record) for event in ended if isinstance(event.outcome, Delivered)})
    return Findings(
        checks=[*checks, *_of_the_run(application, evidence)],
        produced=len(evidence.produced),
        accepted=accepted,
        dead_lettered=len(dead_letters),
        retried=sum(isinstance(event.outcome, Retryable) for event in ended),
        delivering_s=application[-1].at_s - application[0].at_s if application else 0.0,
        outage_s=_outage_s(application),
    )


def _fault(broken: Exception | None) -> str:
    return str(broken).partition(": ")[2] if broken else ""


def _dead_lettered(record: Record, wall_clock_s: float) -> DeadLettered:
    """Return the dead letter as an event of its source record; a dead letter without usable headers stands for itself."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    try:
        source = SeenRecord(
            headers["__dlq.errors.topic"],
            int(headers["__dlq.errors.partition"]),
            int(headers["__dlq.errors.offset"]),
            record.key,
        )
    except (KeyError, ValueError):
        source = SeenRecord(record.topic, record.partition, record.offset, record.key)
    at_s = record.timestamp / 1000 - wall_clock_s
    return DeadLettered(source, at_s, headers.get("mps-dlq-disposition", ""), headers.get("mps-dlq-reason", ""))


def _of_the_run(application: Sequence[TimedEvent], evidence: Evidence) -> list[Check]:
    checks = [Check("StoryTold", "poison, failures and an outage happened", _untold(application, evidence))]
    if evidence.clean_stop is not None:
        fault = "" if evidence.clean_stop else "mpsd did not end with exit code 0 when it was asked to end"
        checks.append(Check("CleanStop", "mpsd stopped cleanly", fault))
    return checks


def _untold(application: Sequence[TimedEvent], evidence: Evidence) -> str:
    """Return what did not happen although it was arranged: checks of a run without trouble would show nothing.

    A record whose failure fell into the outage has its attempt back, and fails once more.
    """
    failed = Counter(
        RecordPosition.of(event.record)
        for event in application
        if isinstance(event, DeliveryEnded) and isinstance(event.outcome, Retryable) and not event.outcome.lost
    )
    counted = {
        "poison records in the dead-letter topic": (len(evidence.dead_letters), evidence.poison),
        "records that failed twice": (sum(count >= 2 for count in failed.values()), evidence.flaky),
        "outages": (sum(isinstance(event, OutageEnded) for event in application), 1),
    }
    return "; ".join(f"{seen} {what}, {wanted} expected" for what, (seen, wanted) in counted.items() if seen != wanted)


def _outage_s(application: Sequence[TimedEvent]) -> float:
    began = [event.at_s for event in application if isinstance(event, OutageBegan)]
    ended = [event.at_s for event in application if isinstance(event, OutageEnded)]
    return sum(ended) - sum(began[: len(ended)])
