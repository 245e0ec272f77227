"""Keys whose records always fail: they must not fill their partition with back-offs.

After `threshold` records of a key exhausted their attempts in a row, later ones get a single attempt until one succeeds.
"""

from mpsd.core.delivery import Lane
from mpsd.core.record import TopicPartition


class FailingKeys:
    """Counts of records of a key that exhausted their attempts, one after the other.

    Holds at most: `keys_max` keys; beyond that the one that failed longest ago is forgotten, and gets its attempts again.
    """

    __slots__ = ("_exhausted", "_keys_max", "_threshold")

    def __init__(self, threshold: int, keys_max: int) -> None:
        """Begin with none.

        Args:
            threshold: 1 or more; 0 switches it off.
            keys_max: bound of what is remembered, 1 or more.
        """
        self._threshold = threshold
        self._keys_max = keys_max
        self._exhausted: dict[tuple[TopicPartition, Lane], int] = {}

    def exhausted(self, tp: TopicPartition, lane: Lane) -> None:
        """Count a record of the lane that was dead-lettered because its attempts were exhausted."""
        if lane is None or not self._threshold:
            return
        count = self._exhausted.pop((tp, lane), 0) + 1
        self._exhausted[tp, lane] = count
        if len(self._exhausted) > self._keys_max:
            del self._exhausted[next(iter(self._exhausted))]

    def succeeded(self, tp: TopicPartition, lane: Lane) -> None:
        if self._exhausted:
            self._exhausted.pop((tp, lane), None)

    def is_failing(self, tp: TopicPartition, lane: Lane) -> bool:
        return bool(self._exhausted) and self._exhausted.get((tp, lane), 0) >= self._threshold

    def forget(self, tp: TopicPartition) -> None:
        """Forget a revoked partition."""
        for known in [known for known in self._exhausted if known[0] == tp]:
            del self._exhausted[known]

    def __len__(self) -> int:
        return len(self._exhausted)
