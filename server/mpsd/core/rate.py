"""A rate limit as a token bucket."""


class TokenBucket:
    """Lets through `rate_per_s` on average, and at most a tenth of a second's worth at once.

    Source: RFC 2697's token bucket, with one rate.
    """

    __slots__ = ("_at_s", "_rate_per_s", "_tokens")

    def __init__(self, rate_per_s: float | None, now_s: float) -> None:
        """Begin with one token.

        Args:
            rate_per_s: 0 lets nothing through, None everything.
        """
        self._rate_per_s = rate_per_s
        self._tokens = 1.0
        self._at_s = now_s

    def set_rate(self, rate_per_s: float | None, now_s: float) -> None:
        """From now on; what has come in so far stays."""
        self._refill(now_s)
        self._rate_per_s = rate_per_s

    def available(self, now_s: float) -> int | None:
        """Whole tokens there are now; None without a limit."""
        if self._rate_per_s is None:
            return None
        self._refill(now_s)
        return int(self._tokens)

    def spend(self, tokens: int) -> None:
        if self._rate_per_s is not None:
            self._tokens -= tokens

    def due_s(self, now_s: float) -> float:
        """Return when the next whole token will be there: now, without a limit; inf if none will come."""
        if self._rate_per_s is None:
            return now_s
        self._refill(now_s)
        missing = max(0.0, 1.0 - self._tokens)
        if not missing:
            return now_s
        return now_s + missing / self._rate_per_s if self._rate_per_s else float("inf")

    def _refill(self, now_s: float) -> None:
        rate_per_s = self._rate_per_s or 0.0
        burst = max(1.0, rate_per_s / 10)
        self._tokens = min(burst, self._tokens + (now_s - self._at_s) * rate_per_s)
        self._at_s = now_s
