"""The limit of deliveries at once for an endpoint that asks for less: additive increase, multiplicative decrease.

Source: the congestion avoidance of TCP (RFC 5681, section 3.1), with answers 429 and 503 in the place of lost segments.
"""

from typing_extensions import override


class Throttle:
    """A limit of concurrency between 1 and `concurrency_max`.

    Attributes:
        limit: deliveries that may be in flight now.
    """

    __slots__ = ("_concurrency_max", "_credit", "_decreased_at_s", "_rest_s", "limit")

    def __init__(self, concurrency_max: int, rest_s: float = 1.0) -> None:
        """Begin wide open.

        Args:
            rest_s: the answers of one burst halve the limit once: no second halving within this time.
        """
        self._concurrency_max = concurrency_max
        self._rest_s = rest_s
        self._credit = 0
        self._decreased_at_s = float("-inf")
        self.limit = concurrency_max

    @property
    def is_wide_open(self) -> bool:
        return self.limit >= self._concurrency_max

    def asked_for_less(self, now_s: float) -> None:
        if now_s - self._decreased_at_s >= self._rest_s:
            self._decreased_at_s = now_s
            self.limit = max(1, self.limit // 2)
            self._credit = 0

    def succeeded(self) -> None:
        """One more in flight for each full round of successes."""
        if self.limit < self._concurrency_max:
            self._credit += 1
            if self._credit >= self.limit:
                self._credit = 0
                self.limit += 1

    @override
    def __repr__(self) -> str:
        return f"<Throttle {self.limit}/{self._concurrency_max}>"
