"""Tell an outage of the endpoint from a record that it cannot take: what counts is whether anything succeeds.

    up ── failures on `lanes_min` lanes, nothing succeeds ────────────────────────────→ out ──────────┐
    up ── more than `rejections_max` dead letters in a row, nothing succeeds ─→ all-rejected ──────────┤
    up ←── one success ────────────────────────────────────────────────────────────────────────────────┘
    up ←── an operator accepts the rejections (until the next success no brake engages) ── all-rejected

In both states deliveries pause and only probes go out, one at a time, each from another lane. What fails meanwhile spends no
attempt, and what is rejected while all-rejected waits: neither lost nor dead.

Failures are believed to be an outage once `failures_min` of them came in a row, or once they have gone on for
`probe_interval_s`, or once one of them would be a record's last attempt: half of all requests failing at random is no outage.
"""

from dataclasses import dataclass
from enum import StrEnum

from typing_extensions import override

from mpsd.core.outcome import Moment

PROBE_REST_SHARE = 8
"""The rest before the first probe is this part of `probe_interval_s`, and doubles: a short outage is over soon."""


class EndpointState(StrEnum):
    """The state of deliveries to the endpoint."""

    UP = "up"
    OUT = "endpoint-out"
    ALL_REJECTED = "all-rejected"


UP, OUT, ALL_REJECTED = EndpointState.UP, EndpointState.OUT, EndpointState.ALL_REJECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """The settings of an endpoint's breaker.

    Attributes:
        lanes_min: lanes that must fail, or be rejected, with no success between, 1 or more.
        failures_min: failures in a row that make an outage at once, 1 or more; fewer do after `probe_interval_s`.
        successes_between: a record that fails while so many deliveries of others succeeded is to blame itself.
        probe_interval_s: longest rest between two probes.
        rejections_max: rejected records in a row that are dead-lettered with no success between; 0: no bound.
        rejection_lanes_min: likewise `lanes_min`, for rejections.
    """

    lanes_min: int = 3
    failures_min: int = 20
    successes_between: int = 20
    probe_interval_s: float = 1.0
    rejections_max: int = 100
    rejection_lanes_min: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of an endpoint's state.

    Attributes:
        before: the state that ended.
        since: when deliveries began to fail, or to be rejected, without a success between.
        reason: the last failure or rejection, in the application's words where it has some.
        rejections: records dead-lettered in a row before the brake engaged.
        accepted: an operator accepted the rejections.
    """

    before: EndpointState
    after: EndpointState
    since: Moment
    reason: str
    rejections: int = 0
    accepted: bool = False


class Breaker:
    """The state of one endpoint, as its deliveries tell it.

    Takes: successes, failures and rejections.
    Gives: the state; each change of it once, in `transitions`.
    Holds at most: the lanes of `failures_min` failures and of what is in flight; `rejection_lanes_min` rejected lanes.

    Attributes:
        state: `UP` while deliveries go on.
        is_open: whether deliveries pause: the state is another one than `UP`.
        successes: deliveries that succeeded, ever.
        opened: outages, ever.
        braked: how often the brake engaged, ever.
        rejections: rejected records that were dead-lettered since the last success.
        is_accepted: an operator accepted the rejections: no brake engages before the next success.
        reason: the last failure or rejection; empty before the first.
        changed_ms: when the state last changed, on the wall clock, milliseconds since the epoch; 0: never.
        transitions: changes of the state that nobody has taken yet, the first first; whoever reports them clears it.
    """

    __slots__ = (
        "_failed_lanes", "_failures", "_probe_due_s", "_probe_rest_s", "_probing", "_rejected_lanes", "_rules", "_since",
        "braked", "changed_ms", "is_accepted", "is_open", "opened", "reason", "rejections", "state", "successes", "transitions",
    )  # fmt: skip

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._failed_lanes: set[object] = set()
        self._failures = 0
        self._rejected_lanes: set[object] = set()
        self._since: Moment | None = None
        self._probe_due_s = 0.0
        self._probe_rest_s = 0.0
        self._probing: object = None
        self.state = UP
        self.is_open = False
        self.successes = 0
        self.opened = 0
        self.braked = 0
        self.rejections = 0
        self.is_accepted = False
        self.reason = ""
        self.changed_ms = 0
        self.transitions: list[Transition] = []

    @property
    def since(self) -> Moment | None:
        """Return when deliveries began to fail, or to be rejected, without a success between; None while they succeed."""
        return self._since

    @property
    def is_failing(self) -> bool:
        """Return True if enough lanes fail, with no success between, to blame the endpoint."""
        return len(self._failed_lanes) >= self._rules.lanes_min

    @property
    def phase(self) -> int:
        """Return a number that rises when an outage begins, and when it ends."""
        return 2 * self.opened + (not self.is_open)

    def succeeded(self) -> None:
        """Count a success: the endpoint is up, and all counts begin again. The hot path."""
        self.successes += 1
        if self._since is not None:
            self._go_up(accepted=False)

    def failed(self, lane: object, at: Moment, reason: str = "", retry_after_s: float = 0.0) -> None:
        """Count a failure of the head of a lane, and pause deliveries if it makes an outage.

        Args:
            lane: anything hashable that tells lanes apart.
            retry_after_s: how long the endpoint asked to be left alone.
        """
        self._note(at, reason)
        if not self.is_open:
            self._failed_lanes.add(lane)
            self._failures += 1
            assert self._since is not None
            is_long = at.now_s - self._since.now_s >= self._rules.probe_interval_s
            if self.is_failing and (is_long or self._failures >= self._rules.failures_min):
                self.pause(at)
        if self.is_open:
            self._rest(lane, at, retry_after_s)

    def pause(self, at: Moment) -> None:
        """Believe in an outage: deliveries pause from now on."""
        if not self.is_open:
            self.opened += 1
            self._go(OUT, at)

    def rejected(self, lane: object, at: Moment, reason: str = "") -> bool:
        """Count a rejection; return True if the record must wait instead of being dead-lettered."""
        self._note(at, reason)
        if self.state is ALL_REJECTED:
            self._rest(lane, at, 0.0)
            return True
        self.withdrawn(lane)  # an endpoint that is out has answered: the next probe need not wait
        self._probe_due_s = min(self._probe_due_s, at.now_s)
        rules = self._rules
        if len(self._rejected_lanes) < rules.rejection_lanes_min:
            self._rejected_lanes.add(lane)
        is_bounded = rules.rejections_max > 0 and not self.is_accepted
        has_lanes = len(self._rejected_lanes) >= rules.rejection_lanes_min
        if is_bounded and has_lanes and self.rejections >= rules.rejections_max:
            self.brake(at)
            return True
        self.rejections += 1
        return False

    def brake(
        self,
        at: Moment,
        since: Moment | None = None,
        rejections: int | None = None,
        reason: str = "",
        engaged_ms: int | None = None,
    ) -> None:
        """Stop dead-lettering what is rejected: from now on only probes go out.

        Args:
            since, rejections, reason, engaged_ms: of another daemon's brake, or of one before a restart.
        """
        self._since = since or self._since or at
        self.reason = reason or self.reason
        self.rejections = self.rejections if rejections is None else rejections
        self.is_accepted = False
        if self.state is not ALL_REJECTED:
            self.braked += 1
            self._go(ALL_REJECTED, at)
            self.changed_ms = at.wall_ms if engaged_ms is None else engaged_ms

    def release(self, succeeded_ms: int) -> bool:
        """Let deliveries go on, as another daemon's delivery succeeded; return False if that was before this brake engaged."""
        if self.state is ALL_REJECTED:
            if succeeded_ms < self.changed_ms:
                return False
            self._go_up(accepted=False)
        self.is_accepted = False
        return True

    def accept(self, at: Moment) -> None:
        """Dead-letter what is rejected until the next success, without a bound: an operator accepts the rejections."""
        if self.state is ALL_REJECTED:
            self._go_up(accepted=True)
        self.is_accepted = True
        self._since = self._since or at

    def withdrawn(self, lane: object) -> None:
        """Note that a delivery of the lane came to nothing: if it was the probe, another may go out."""
        if self._probing == lane:
            self._probing = None

    def may_probe(self, now_s: float) -> bool:
        """Return True if one delivery may go out now although deliveries pause; `probe` says that it went."""
        return self.is_open and self._probing is None and now_s >= self._probe_due_s

    def probe(self, lane: object) -> None:
        """Note that the head of the lane has gone out as the probe; what else is in flight went out before."""
        self._probing = lane

    def is_probe(self, lane: object) -> bool:
        """Return True if what is out of the lane is the probe."""
        return self._probing is not None and self._probing == lane

    @property
    def probe_due_s(self) -> float | None:
        """Return when the next probe may start; None while deliveries go on or a probe is in flight."""
        return self._probe_due_s if self.is_open and self._probing is None else None

    def _note(self, at: Moment, reason: str) -> None:
        if self._since is None:
            self._since = at
        self.reason = reason or self.reason

    def _rest(self, lane: object, at: Moment, retry_after_s: float) -> None:
        """Put the next probe off; the rest doubles with each probe that came back."""
        interval_s = self._rules.probe_interval_s
        if self._probing == lane:
            self._probing = None
            self._probe_rest_s = min(interval_s, 2 * self._probe_rest_s)
        self._probe_due_s = max(self._probe_due_s, at.now_s + max(self._probe_rest_s, retry_after_s))

    def _go(self, state: EndpointState, at: Moment) -> None:
        assert self._since is not None
        rejections = self.rejections if state is ALL_REJECTED else 0
        change = Transition(
            before=self.state, after=state, since=self._since, reason=self.reason, rejections=rejections
        )
        self.transitions.append(change)
        self.state, self.is_open, self.changed_ms = state, True, at.wall_ms
        self._probing = None
        self._probe_rest_s = self._rules.probe_interval_s / PROBE_REST_SHARE
        self._probe_due_s = at.now_s + self._probe_rest_s

    def _go_up(self, *, accepted: bool) -> None:
        assert self._since is not None
        if self.is_open or self.is_accepted:
            before, since, rejections = self.state, self._since, self.rejections
            change = Transition(
                before=before, after=UP, since=since, reason=self.reason, rejections=rejections, accepted=accepted
            )
            self.transitions.append(change)
        self.state, self.is_open, self.is_accepted = UP, False, False
        self._probing, self._since = None, None
        self._failed_lanes.clear()
        self._failures = 0
        self._rejected_lanes.clear()
        self.rejections = 0

    @override
    def __repr__(self) -> str:
        return f"<Breaker {self.state} failing={len(self._failed_lanes)} opened={self.opened}>"
