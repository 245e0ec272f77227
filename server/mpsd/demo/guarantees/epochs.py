"""The guarantee that a later holder of a partition has a higher epoch."""

from collections.abc import Sequence

from typing_extensions import override

from mpsd.core.record import TopicPartition
from mpsd.demo.guarantees.guarantee import Fault, Guarantee


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
