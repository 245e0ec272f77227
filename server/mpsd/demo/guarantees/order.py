"""One key in order and never twice at a time; different keys beside each other."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from typing_extensions import override

from mpsd.core.outcome import Delivered, Outcome
from mpsd.core.record import Record, TopicPartition
from mpsd.demo.guarantees.guarantee import Fault, Guarantee, Lane, RecordPosition, lane_of


class KeyOrder(Guarantee):
    """First successful deliveries of one key happen in offset order. A dead-lettered record has left the order.

    Holds:   k1: 1 2 2 3 (a repetition is no first)      Breaks:  k1: 1 3 2
    """

    promise = "records of one key accepted in order"

    def __init__(self) -> None:
        self._accepted: set[RecordPosition] = set()
        self._last: dict[Lane, RecordPosition] = {}
        self._late: dict[RecordPosition, RecordPosition] = {}
        self._dead: set[RecordPosition] = set()

    @override
    def on_delivery_ended(self, record: Record, at_s: float, outcome: Outcome) -> None:
        position, lane = RecordPosition.of(record), lane_of(record)
        if lane is None or position in self._accepted or not isinstance(outcome, Delivered):
            return
        self._accepted.add(position)
        last = self._last.setdefault(lane, position)
        if position.offset < last.offset:
            self._late[position] = last
        else:
            self._last[lane] = position

    @override
    def on_dead_letter(self, record: Record, at_s: float, disposition: str, reason: str) -> None:
        self._dead.add(RecordPosition.of(record))

    @override
    def faults(self) -> Sequence[Fault]:
        return [
            Fault(position, f"was accepted only after {later} of its key")
            for position, later in self._late.items()
            if position not in self._dead
        ]


class OneInFlightPerKey(Guarantee):
    """No two deliveries of one key overlap, whoever makes them.

    Holds:   k1 [1--2] k1 [3--4]        Breaks:  k1 [1-----4] k1 [2--3]
    """

    promise = "deliveries of one key never overlap"

    def __init__(self) -> None:
        self._in_flight: defaultdict[Lane, list[RecordPosition]] = defaultdict(list)
        self._faults: list[Fault] = []

    @override
    def on_delivery_started(self, record: Record, at_s: float, attempt: int = 1) -> None:
        position, lane = RecordPosition.of(record), lane_of(record)
        if lane is None:
            return
        if others := self._in_flight[lane]:
            self._faults.append(Fault(position, f"began at {at_s:.6f} s while {others[0]} of its key was in flight"))
        others.append(position)

    @override
    def on_delivery_ended(self, record: Record, at_s: float, outcome: Outcome) -> None:
        position, lane = RecordPosition.of(record), lane_of(record)
        if lane is not None and position in self._in_flight[lane]:
            self._in_flight[lane].remove(position)

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults


class FreedomIsUsed(Guarantee):
    """Different keys of one partition, and records without a key, are delivered beside each other.

    Holds:   k1 [1---4]                 Breaks:  k1 [1--2]
             k2   [2---5]                        k2       [3--4]

    Args:
        at_once_min: how many deliveries of some one partition must have been in flight at one time.
    """

    promise = "different keys delivered at the same time"

    def __init__(self, at_once_min: int = 2) -> None:
        self._at_once_min = at_once_min
        self._in_flight: Counter[TopicPartition] = Counter()
        self._peak = 0

    @override
    def on_delivery_started(self, record: Record, at_s: float, attempt: int = 1) -> None:
        tp = TopicPartition(record.topic, record.partition)
        self._in_flight[tp] += 1
        self._peak = max(self._peak, self._in_flight[tp])

    @override
    def on_delivery_ended(self, record: Record, at_s: float, outcome: Outcome) -> None:
        self._in_flight[TopicPartition(record.topic, record.partition)] -= 1

    @override
    def faults(self) -> Sequence[Fault]:
        if self._peak >= self._at_once_min:
            return []
        return [
            Fault(None, f"no partition had more than {self._peak} in flight at once; {self._at_once_min} were expected")
        ]


class NullKeysAreFree(FreedomIsUsed):
    """Records without a key wait for no other, where `null_key` is `none`: several of a partition are in flight at once.

    Holds:   - [1---4]                  Breaks:  - [1--2]
             -   [2---5]                         -       [3--4]
    """

    promise = "records without a key wait for no other"

    @override
    def on_delivery_started(self, record: Record, at_s: float, attempt: int = 1) -> None:
        if record.key is None:
            super().on_delivery_started(record, at_s, attempt)

    @override
    def on_delivery_ended(self, record: Record, at_s: float, outcome: Outcome) -> None:
        if record.key is None:
            super().on_delivery_ended(record, at_s, outcome)


class EpochRises(Guarantee):
    """The epoch of a partition never falls, and no two instances deliver with the same one.

    Holds:   a: 3 3 3, b: 4 4, a: 6        Breaks:  a: 3, b: 4, a: 3 · a: 3, b: 3
    """

    promise = "the epoch rises with each new owner"

    def __init__(self) -> None:
        self._holders: dict[TopicPartition, tuple[int, str]] = {}
        self._faults: list[Fault] = []

    @override
    def on_epoch(self, tp: TopicPartition, epoch: int, holder: str, at_s: float) -> None:
        known = self._holders.get(tp)
        if known == (epoch, holder):
            return
        if known is not None and (epoch < known[0] or (epoch == known[0] and holder != known[1])):
            text = (
                f"{tp}: {holder} delivered in epoch {epoch} at {at_s:.3f} s, after {known[1]} had in epoch {known[0]}"
            )
            self._faults.append(Fault(None, text))
            return
        self._holders[tp] = (epoch, holder)

    @override
    def faults(self) -> Sequence[Fault]:
        return self._faults
