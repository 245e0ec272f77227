"""How often something happened lately: by two counts, whatever the pace."""


class Pace:
    """Events of about the last `window_s`.

    The count of the window before this one fades while this one fills.

    Source: the sliding window counter of rate limiters.
    """

    __slots__ = ("_before", "_began_s", "_now", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._began_s = 0.0
        self._before = self._now = 0

    def count(self, now_s: float) -> None:
        """Note that it happened."""
        self._turn(now_s)
        self._now += 1

    def lately(self, now_s: float) -> float:
        """Return how often it happened."""
        self._turn(now_s)
        return self._before * (1 - (now_s - self._began_s) / self._window_s) + self._now

    def _turn(self, now_s: float) -> None:
        passed = int((now_s - self._began_s) // self._window_s)
        if passed > 0:
            self._before, self._now = (self._now, 0) if passed == 1 else (0, 0)
            self._began_s += passed * self._window_s
