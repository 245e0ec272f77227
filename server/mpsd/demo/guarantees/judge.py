"""One judge listens to all events and asks every guarantee."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, assert_never

from mpsd.demo.guarantees.attempts import AttemptsSurvive, OutageSpendsNoAttempts
from mpsd.demo.guarantees.events import (
    Committed,
    DaemonKilled,
    DeadLettered,
    DeliveryEnded,
    DeliveryStarted,
    Event,
    LogEnd,
    OutageBegan,
    OutageEnded,
    Produced,
)
from mpsd.demo.guarantees.guarantee import Guarantee, GuaranteeBroken
from mpsd.demo.guarantees.order import FreedomIsUsed, KeyOrder, OneInFlightPerKey
from mpsd.demo.guarantees.repetition import BoundedRepetition
from mpsd.demo.guarantees.settlement import (
    CommitNeverPassesUnfinished,
    DeadLetterSaysWhy,
    EveryRecordSettled,
    LagReachesZero,
)


def every_guarantee(commit_interval_s: float = 0.0, at_once_min: int = 2) -> list[Guarantee]:
    """One of each, fresh.

    Args:
        commit_interval_s: what a kill of the daemon may undo.
        at_once_min: how many deliveries of one partition must have been in flight at one time.
    """
    return [
        EveryRecordSettled(),
        DeadLetterSaysWhy(),
        KeyOrder(),
        OneInFlightPerKey(),
        FreedomIsUsed(at_once_min),
        BoundedRepetition(commit_interval_s),
        OutageSpendsNoAttempts(),
        AttemptsSurvive(commit_interval_s),
        CommitNeverPassesUnfinished(),
        LagReachesZero(),
    ]


class Verdict(NamedTuple):
    """What became of one promise; `broken` is None where it was kept."""

    guarantee: Guarantee
    broken: GuaranteeBroken | None


class Judge:
    """Fans events out to guarantees, in the order in which they are told."""

    def __init__(self, guarantees: Sequence[Guarantee]) -> None:
        self.guarantees = guarantees

    def see(self, event: Event) -> None:
        """Tell every guarantee what happened."""
        for guarantee in self.guarantees:
            match event:
                case DeliveryStarted(record, at_s, attempt):
                    guarantee.on_delivery_started(record, at_s, attempt)
                case DeliveryEnded(record, at_s, outcome):
                    guarantee.on_delivery_ended(record, at_s, outcome)
                case Produced(record):
                    guarantee.on_produced(record)
                case DeadLettered(record, at_s, disposition, reason):
                    guarantee.on_dead_letter(record, at_s, disposition, reason)
                case Committed(tp, next_offset, at_s):
                    guarantee.on_committed(tp, next_offset, at_s)
                case LogEnd(tp, next_offset):
                    guarantee.on_log_end(tp, next_offset)
                case OutageBegan(at_s):
                    guarantee.on_outage_began(at_s)
                case OutageEnded(at_s):
                    guarantee.on_outage_ended(at_s)
                case DaemonKilled(at_s):
                    guarantee.on_daemon_killed(at_s)
                case _:
                    assert_never(event)

    def see_all(self, events: Iterable[Event]) -> None:
        """Tell a whole story."""
        for event in events:
            self.see(event)

    def verdicts(self) -> list[Verdict]:
        """Ask every guarantee, in their order."""
        verdicts = []
        for guarantee in self.guarantees:
            try:
                guarantee.check()
            except GuaranteeBroken as broken:
                verdicts.append(Verdict(guarantee, broken))
            else:
                verdicts.append(Verdict(guarantee, None))
        return verdicts

    def check(self) -> None:
        """Ask every guarantee.

        Raises:
            ExceptionGroup: of `GuaranteeBroken`, one for each broken promise.
        """
        if broken := [verdict.broken for verdict in self.verdicts() if verdict.broken]:
            raise ExceptionGroup(f"{len(broken)} of {len(self.guarantees)} guarantees are broken", broken)
