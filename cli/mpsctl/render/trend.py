"""Recent values as one line of bars."""

from collections import deque
from collections.abc import Sequence

from mpsctl.views.status import Status

BARS = "▁▂▃▄▅▆▇█"
POINTS_MAX = 30
"""Number of bars in a line: two lines with their names fit into 80 columns."""


def bars(values: Sequence[float]) -> str:
    """Return a bar for each number; the highest bar is the largest number, the lowest is 0 or close to 0."""
    largest = max(values, default=0.0)
    if largest <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[min(int(value / largest * len(BARS)), len(BARS) - 1)] for value in values)


class Trends:
    """Recent rates and lags of each subscription.

    Holds at most: `POINTS_MAX` of each.
    """

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def add(self, status: Status) -> None:
        """Add a status, and forget subscriptions that it does not have."""
        before, self._seen = self._seen, {}
        for each in status.subscriptions:
            points = self._seen[each.name] = before.get(each.name) or deque(maxlen=POINTS_MAX)
            points.append((each.delivered_per_s, each.flow.lag_records))

    def text(self, subscription: str) -> str:
        """Return the trend of one subscription; empty if there is only one point."""
        points = self._seen.get(subscription, ())
        if len(points) < 2:
            return ""
        rates, lags = zip(*points, strict=True)
        return f"rate {bars(rates)}  lag {bars(lags)}"
