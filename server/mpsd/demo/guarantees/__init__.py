"""The promises of the service as objects, one class each: told what happened, they say whether it was kept.

They judge the demo here, and the simulation and integration tests; `tests/guarantees/` shows each of them holding and
breaking. `Judge` fans events out to all; `read_events` reads what an application wrote down.
"""

from mpsd.demo.guarantees.attempts import AttemptsSurvive, OutageSpendsNoAttempts
from mpsd.demo.guarantees.event_log import EventLogError, read_events
from mpsd.demo.guarantees.guarantee import Fault, Guarantee, GuaranteeBroken, RecordPosition
from mpsd.demo.guarantees.judge import Judge, Verdict, every_guarantee
from mpsd.demo.guarantees.order import EpochRises, FreedomIsUsed, KeyOrder, NullKeysAreFree, OneInFlightPerKey
from mpsd.demo.guarantees.repetition import BoundedRepetition
from mpsd.demo.guarantees.settlement import (
    CommitNeverGoesBack,
    CommitNeverPassesUnfinished,
    DeadLetterSaysWhy,
    EveryRecordSettled,
    LagReachesZero,
)

__all__ = [
    "AttemptsSurvive",
    "BoundedRepetition",
    "CommitNeverGoesBack",
    "CommitNeverPassesUnfinished",
    "DeadLetterSaysWhy",
    "EpochRises",
    "EventLogError",
    "EveryRecordSettled",
    "Fault",
    "FreedomIsUsed",
    "Guarantee",
    "GuaranteeBroken",
    "Judge",
    "KeyOrder",
    "LagReachesZero",
    "NullKeysAreFree",
    "OneInFlightPerKey",
    "OutageSpendsNoAttempts",
    "RecordPosition",
    "Verdict",
    "every_guarantee",
    "read_events",
]
