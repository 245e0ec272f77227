"""From the outcome of a delivery to its verdict, with all that is remembered of an endpoint and of troubled records.

The table of cases is `retry.decide`; what it cannot see is kept here: is the endpoint out (`breaker`), was this one of
many lost at once (`lost`), does its key always fail (`sick_keys`), does the endpoint ask for less (`throttle`).
Synchronous and deterministic: time and jitter are arguments.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from mpsd.core.breaker import Breaker, BreakerRules
from mpsd.core.delivery import Delivery, ReplayedDelivery, Trouble
from mpsd.core.lost import LostDeliveries, was_suspect_alone
from mpsd.core.outcome import Outcome, Retryable, Unavailable, Undeliverable, Withdrawn
from mpsd.core.record import TopicPartition
from mpsd.core.retry import Bury, Disposition, Hold, RetryRules, Verdict, decide
from mpsd.core.sick_keys import SickKeys
from mpsd.core.throttle import Throttle


@dataclass(frozen=True, slots=True)
class Undecided:
    """The delivery was lost; whom to blame is known when its window is over."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """Not charged; to be delivered again as `suspects` says."""


class _Answer(NamedTuple):
    """The last answer Unavailable: the request it was for if records shared it, when it came, and its luck of the draw."""

    request: int
    now_s: float
    jitter: float


UNDECIDED = Undecided()
SUSPECT = Suspect()


class Moment(NamedTuple):
    """When something happened, on both clocks, and the luck of the draw.

    Attributes:
        now_s: the monotonic clock.
        wall_ms: the wall clock, milliseconds since the epoch.
        jitter: 0 up to 1.
        in_flight: other deliveries that had begun and not ended.
    """

    now_s: float
    wall_ms: int
    jitter: float
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRules:
    """All rules of one endpoint.

    Attributes:
        sick_key_after: records of a key that exhaust their attempts in a row before later ones get one; 0: off.
        sick_keys_max: keys of which that is remembered.
        lost_window_s: how near in time lost deliveries are one event.
        concurrency_max: deliveries in flight at most.
    """

    retry: RetryRules
    breaker: BreakerRules
    sick_key_after: int
    sick_keys_max: int
    lost_window_s: float
    concurrency_max: int


class RetryPolicy:
    """Judges the deliveries of one endpoint.

    Takes: outcomes.
    Gives: verdicts; for lost deliveries later, by `judge_lost`.
    Holds at most: the lost deliveries of one window (`concurrency_max`), `sick_keys_max` keys, `lanes_min` lanes.
    """

    def __init__(self, rules: PolicyRules) -> None:
        self._rules = rules
        self._single = replace(rules.retry, attempts_max=1)
        self.breaker = Breaker(rules.breaker)
        self.throttle = Throttle(rules.concurrency_max)
        self._lost = LostDeliveries(rules.lost_window_s)
        self._sick_keys = SickKeys(rules.sick_key_after, rules.sick_keys_max)
        self._answer = _Answer(0, 0.0, 0.0)

    def succeeded(self, delivery: Delivery) -> None:
        """A delivery was accepted: the hot path, so it touches only what is out of the ordinary."""
        self.breaker.succeeded()
        if not self.throttle.is_wide_open:
            self.throttle.succeeded()
        self._sick_keys.succeeded(delivery.assignment.tp, delivery.lane)

    def judge(self, delivery: Delivery, outcome: Outcome, moment: Moment) -> Verdict | Undecided:
        """What becomes of a delivery that was not accepted."""
        trouble = delivery.trouble = delivery.trouble or Trouble()
        if isinstance(outcome, Withdrawn):
            trouble.group = 0
            self.withdrawn(delivery)
            return Hold(after_s=0.0)
        trouble.last = outcome
        trouble.first_failed_at_ms = trouble.first_failed_at_ms or moment.wall_ms
        trouble.last_failed_at_ms = moment.wall_ms
        if isinstance(outcome, Retryable) and outcome.lost:
            return self._was_lost(delivery, trouble, moment)
        trouble.group = 0
        if isinstance(outcome, Unavailable):
            return self._unavailable(delivery, trouble, outcome, moment)
        if isinstance(outcome, Undeliverable):
            self.withdrawn(delivery)
            return decide(outcome, trouble.attempts, 0, self._rules.retry, moment.jitter)
        trouble.suspect = False
        self.breaker.answered()
        return self._charge(delivery, trouble, outcome, moment)

    def probe(self, delivery: Delivery) -> None:
        """The delivery goes out while the breaker is open."""
        self.breaker.probe(_identity(delivery))

    def withdrawn(self, delivery: Delivery) -> None:
        """The delivery came to nothing: if it was the probe, another may go out."""
        self.breaker.withdrawn(_identity(delivery))

    def judge_lost(self, moment: Moment) -> Iterator[tuple[Delivery, Verdict | Suspect]]:
        """The verdicts on the deliveries of a window that is over; `lost_due_s` says when that is."""
        judged = self._lost.judge(moment.now_s)
        for number, delivery in enumerate((*judged.charged, *judged.suspects)):
            trouble = delivery.trouble
            assert trouble is not None
            assert trouble.last is not None
            if number < len(judged.charged) and (was_suspect_alone(delivery) or not self.breaker.is_open):
                yield delivery, self._charge(delivery, trouble, trouble.last, moment)
            else:
                trouble.suspect = True
                yield delivery, SUSPECT

    @property
    def lost_due_s(self) -> float | None:
        return self._lost.due_s

    def forget(self, tp: TopicPartition) -> None:
        """The partition is no longer ours."""
        self._sick_keys.forget(tp)

    def is_expired(self, delivery: Delivery, wall_ms: int) -> bool:
        """Whether the record is older than `record_age_max_s`; one without a timestamp, or of a replay, never is."""
        age_max_s, timestamp = self._rules.retry.record_age_max_s, delivery.record.timestamp
        if not age_max_s or timestamp < 0 or wall_ms - timestamp <= age_max_s * 1000:
            return False
        return not isinstance(delivery, ReplayedDelivery)

    def _unavailable(self, delivery: Delivery, trouble: Trouble, outcome: Unavailable, moment: Moment) -> Verdict:
        """Blame the endpoint, unless it kept serving others: then it is this record, if it had the answer for itself.

        Records that shared an answer wait until the same moment, so that they can share a request again.
        """
        breaker = self.breaker
        trouble.holds += 1
        is_told = outcome.request != 0 and outcome.request == self._answer.request
        if not is_told:
            self._answer = _Answer(outcome.request, moment.now_s, moment.jitter)
        if outcome.throttled:
            self.throttle.asked_for_less(moment.now_s)
        if trouble.holds == 1:  # an endpoint that shuts down still ends what it had begun: that says nothing
            trouble.successes_mark = breaker.successes + moment.in_flight
        elif (
            not outcome.request
            and not breaker.is_open
            and breaker.successes - trouble.successes_mark >= self._rules.breaker.successes_between
        ):
            blamed = Retryable(
                code=outcome.code,
                reason=outcome.reason,
                status=outcome.status,
                retry_after_s=outcome.retry_after_s,
                excerpt=outcome.excerpt,
            )
            return self._charge(delivery, trouble, blamed, moment)
        if is_told:
            self.withdrawn(delivery)
        else:
            breaker.failed(_identity(delivery), moment.now_s, outcome.retry_after_s or 0.0)
        hold = decide(outcome, trouble.attempts, trouble.holds, self._rules.retry, self._answer.jitter)
        assert isinstance(hold, Hold)
        return Hold(after_s=max(0.0, hold.after_s - (moment.now_s - self._answer.now_s)))

    def _was_lost(self, delivery: Delivery, trouble: Trouble, moment: Moment) -> Verdict | Undecided:
        """A lost probe of an endpoint that is out anyway says nothing new; any other waits for the end of its window.

        The others that a poison pill takes down may open the breaker before its own loss is seen: that is still one event.
        """
        is_nothing_new = self.breaker.is_open and self._lost.due_s is None
        if self.breaker.is_probe(_identity(delivery)):
            trouble.group = 1
        self.breaker.failed(_identity(delivery), moment.now_s)
        if is_nothing_new:
            trouble.suspect = True
            return Hold(after_s=0.0)
        self._lost.add(delivery, moment.now_s)
        return UNDECIDED

    def _charge(self, delivery: Delivery, trouble: Trouble, outcome: Outcome, moment: Moment) -> Verdict:
        trouble.attempts += 1
        trouble.holds = 0
        tp, lane = delivery.assignment.tp, delivery.lane
        rules = self._single if self._sick_keys.is_sick(tp, lane) else self._rules.retry
        verdict = decide(outcome, trouble.attempts, trouble.holds, rules, moment.jitter)
        if isinstance(verdict, Bury) and verdict.disposition is Disposition.ATTEMPTS_EXHAUSTED:
            self._sick_keys.exhausted(tp, lane)
        return verdict

    def statistics(self) -> dict[str, int | float | str]:
        return {
            "breaker": "open" if self.breaker.is_open else "closed",
            "breaker_opened": self.breaker.opened,
            "concurrency_limit": self.throttle.limit,
            "lost_undecided": len(self._lost),
            "sick_keys": len(self._sick_keys),
        }


def _identity(delivery: Delivery) -> object:
    """What tells the lane from others; a free delivery is its own."""
    return delivery if delivery.lane is None else (delivery.assignment.tp, delivery.lane)
