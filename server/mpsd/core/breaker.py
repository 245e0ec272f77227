"""Whether the endpoint, not a record, is what fails.

    closed ── failures on `lanes_min` lanes, no success between ──→ open ── any answer to a probe ──→ closed

While it is open only probes go out, one at a time, each from another lane; a lane that fails for a reason of its own
therefore neither opens the breaker nor keeps it open.
"""

from dataclasses import dataclass

from typing_extensions import override


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """What an operator sets about outages.

    Attributes:
        lanes_min: lanes that must fail with no success between before the endpoint is blamed, 1 or more.
        successes_between: a record answered Unavailable while so many deliveries of others succeeded is blamed itself.
        probe_interval_s: rest between two probes.
    """

    lanes_min: int = 3
    successes_between: int = 20
    probe_interval_s: float = 1.0


class Breaker:
    """Opens when an endpoint is out, closes when it answers.

    Attributes:
        successes: deliveries that succeeded, ever.
        opened: how often it opened, ever.
    """

    __slots__ = ("_failing", "_is_open", "_probe_due_s", "_probing", "_rules", "opened", "successes")

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._failing: set[object] = set()
        self._is_open = False
        self._probe_due_s = 0.0
        self._probing: object = None
        self.successes = 0
        self.opened = 0

    @property
    def is_open(self) -> bool:
        return self._is_open

    def succeeded(self) -> None:
        """A delivery was accepted."""
        self.successes += 1
        if self._failing or self._is_open:
            self.answered()
            self._failing.clear()

    def answered(self) -> None:
        """The endpoint answered about a record, be it with a refusal: it is not out."""
        self._is_open = False
        self._probing = None

    def failed(self, lane: object, now_s: float, retry_after_s: float = 0.0) -> None:
        """The endpoint was unavailable to the head of a lane.

        Args:
            lane: anything hashable that tells lanes apart; a bounded number is kept.
            retry_after_s: how long the endpoint asked to be left alone.
        """
        if not self._is_open:
            self._failing.add(lane)
            if len(self._failing) < self._rules.lanes_min:
                return
            self._is_open = True
            self._probe_due_s = 0.0
            self.opened += 1
            self._failing.clear()
        self.withdrawn(lane)
        self._probe_due_s = max(self._probe_due_s, now_s + max(self._rules.probe_interval_s, retry_after_s))

    def withdrawn(self, lane: object) -> None:
        """A delivery of the lane came to nothing: if it was the probe, another may go out."""
        if self._probing == lane:
            self._probing = None

    def may_probe(self, now_s: float) -> bool:
        """Whether an open breaker lets one delivery through now; `probe` says that it went."""
        return self._is_open and self._probing is None and now_s >= self._probe_due_s

    def probe(self, lane: object) -> None:
        """The head of the lane has gone out as the probe; what else is in flight went out before."""
        self._probing = lane

    def is_probe(self, lane: object) -> bool:
        """Whether what is out of the lane is the probe."""
        return self._probing is not None and self._probing == lane

    @property
    def probe_due_s(self) -> float | None:
        """When the next probe may go; None when closed or while one is out."""
        return self._probe_due_s if self._is_open and self._probing is None else None

    @override
    def __repr__(self) -> str:
        return f"<Breaker {'open' if self._is_open else 'closed'} failing={len(self._failing)} opened={self.opened}>"
