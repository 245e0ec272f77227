"""A rate limit as a token bucket."""


class TokenBucket:
    """Lets through `rate_per_s` on average, and at most a tenth of a second's worth at once.

    Source: RFC 2697's token bucket, with one rate.
    """

    __slots__ = ("_at_s", "_rate_per_s", "_tokens")

    def __init__(self, rate_per_s: float, now_s: float) -> None:
        """Begin with one token.

        Args:
            rate_per_s: above 0, or 0 for no limit.
        """
        self._rate_per_s = rate_per_s
        self._tokens = 1.0
        self._at_s = now_s

    def set_rate(self, rate_per_s: float, now_s: float) -> None:
        self._refill(now_s)
        self._rate_per_s = rate_per_s

    def available(self, now_s: float) -> int | None:
        """Whole tokens there are now; None without a limit."""
        if not self._rate_per_s:
            return None
        self._refill(now_s)
        return int(self._tokens)

    def spend(self, tokens: int) -> None:
        self._tokens -= tokens

    def due_s(self, now_s: float) -> float:
        """When the next whole token is there; now, without a limit."""
        if not self._rate_per_s:
            return now_s
        self._refill(now_s)
        return now_s + max(0.0, 1.0 - self._tokens) / self._rate_per_s

    def _refill(self, now_s: float) -> None:
        burst = max(1.0, self._rate_per_s / 10)
        self._tokens = min(burst, self._tokens + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
