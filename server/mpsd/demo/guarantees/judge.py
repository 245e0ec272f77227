"""One judge listens to all events and asks every guarantee."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from mpsd.demo.guarantees.attempts import AttemptsSurvive, OutageSpendsNoAttempts
from mpsd.demo.guarantees.events import (
    Committed,
    DaemonKilled,
    DeadLettered,
    DeliveryEnded,
    DeliveryStarted,
    EpochSeen,
    Event,
    LogEnd,
    OutageBegan,
    OutageEnded,
    Produced,
    Removed,
    Spared,
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
        DeadLetterSaysWhy(commit_interval_s),
        KeyOrder(),
        OneInFlightPerKey(),
        FreedomIsUsed(at_once_min),
        BoundedRepetition(commit_interval_s),
        OutageSpendsNoAttempts(),
        AttemptsSurvive(commit_interval_s),
        CommitNeverPassesUnfinished(),
        LagReachesZero(),
    ]


HOOKS: Final = (
    (Produced, "on_produced"),
    (Removed, "on_removed"),
    (DeliveryStarted, "on_delivery_started"),
    (DeliveryEnded, "on_delivery_ended"),
    (DeadLettered, "on_dead_letter"),
    (Committed, "on_committed"),
    (LogEnd, "on_log_end"),
    (OutageBegan, "on_outage_began"),
    (OutageEnded, "on_outage_ended"),
    (DaemonKilled, "on_daemon_killed"),
    (EpochSeen, "on_epoch"),
    (Spared, "on_spared"),
)
"""An event's fields are its hook's arguments."""


def _hears(guarantee: Guarantee, hook: str) -> bool:
    return getattr(type(guarantee), hook) is not getattr(Guarantee, hook)


class Verdict(NamedTuple):
    """The verdict on one promise; `broken` is None if the promise was kept."""

    guarantee: Guarantee
    broken: GuaranteeBroken | None


class Judge:
    """Fans events out to guarantees, in the order in which they are told."""

    def __init__(self, guarantees: Sequence[Guarantee]) -> None:
        self.guarantees = guarantees
        self._hear = {kind: [getattr(each, hook) for each in guarantees if _hears(each, hook)] for kind, hook in HOOKS}

    def see(self, event: Event) -> None:
        """Tell every guarantee what happened."""
        for hear in self._hear[type(event)]:
            hear(*event)

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
