"""Pauses: what operators stopped, and what that means for a partition.

subscription                  nothing of it is delivered
… and topic [and partition]   nothing of that
… [topic [partition]] and key its lane waits, in whatever is named; the others go on
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from mpsd.core.control import NOBODY, Kind, Provenance
from mpsd.core.record import TopicPartition


class Scope(NamedTuple):
    """The scope of a pause: all of a subscription, or the named part.

    Attributes:
        partition: only together with `topic`.
        key: of records; empty is a key, None is none named.
    """

    subscription: str
    topic: str | None = None
    partition: int | None = None
    key: bytes | None = None

    def covers(self, tp: TopicPartition) -> bool:
        """Return True if the partition is in the scope."""
        return self.topic in {None, tp.topic} and self.partition in {None, tp.partition}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A scope that is stopped.

    Attributes:
        until_ms: when it ends by itself, milliseconds since the epoch; None: never.
        revision: offset of its control record.
    """

    scope: Scope
    until_ms: int | None
    revision: int = -1
    provenance: Provenance = NOBODY

    def holds(self, now_ms: int) -> bool:
        return self.until_ms is None or now_ms < self.until_ms


def _is_possible(pause: Pause) -> bool:
    return pause.scope.partition is None or pause.scope.topic is not None


PAUSE = Kind(name="pause", key=Scope, value=Pause, key_name="scope", fits=_is_possible)


class Stopped(NamedTuple):
    """The effect of pauses on a partition.

    Attributes:
        whole: nothing of it is delivered.
        keys: nothing of these keys is.
    """

    whole: bool
    keys: frozenset[bytes]


def stopped(pauses: Iterable[Pause], tp: TopicPartition, now_ms: int) -> Stopped:
    """Return the effect of its subscription's pauses on a partition now."""
    scopes = [pause.scope for pause in pauses if pause.holds(now_ms) and pause.scope.covers(tp)]
    keys = frozenset(scope.key for scope in scopes if scope.key is not None)
    return Stopped(any(scope.key is None for scope in scopes), keys)


def next_end_ms(pauses: Collection[Pause], now_ms: int) -> int | None:
    """Return when the first pause in effect ends by itself; None if none will."""
    return min((p.until_ms for p in pauses if p.until_ms is not None and p.holds(now_ms)), default=None)
