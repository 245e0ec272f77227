"""The verdict on a delivery's outcome, with everything remembered of the endpoint and of records that failed.

The table of cases is `retry.decide`. State that the table cannot see is kept here: an outage of the endpoint (`breaker`),
many deliveries lost at once (`lost`), a key that always fails (`FailingKeys`), an endpoint that asks for less (`Throttle`).

An attempt is charged on probation: if an outage follows, and not a success, the attempt is given back.
Synchronous and deterministic: time and jitter are arguments.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from typing_extensions import override

from mpsd.core.breaker import Breaker, BreakerRules
from mpsd.core.delivery import Delivery, FailureHistory, Lane, ReplayedDelivery
from mpsd.core.lost import LostDeliveries, was_suspect_alone
from mpsd.core.outcome import Moment, Outcome, Rejected, Retryable, Unavailable, Undeliverable, Withdrawn
from mpsd.core.record import TopicPartition
from mpsd.core.retry import DeadLetterRequest, Defer, Disposition, RetryRules, Verdict, backoff_s, decide


@dataclass(frozen=True, slots=True)
class Undecided:
    """The delivery was lost; whom to blame is known when its window is over."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """Not charged; to be delivered again as `suspects` says."""


class _Answer(NamedTuple):
    """The last answer Unavailable: the request it was for if records shared it, when it came, and its jitter."""

    request: int
    now_s: float
    jitter: float


UNDECIDED = Undecided()
SUSPECT = Suspect()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRules:
    """All rules of one endpoint.

    Attributes:
        crowding_attempts_max: deliveries that count while those behind the record fill its partition, 1 or more.
        failing_key_after: records of a key that exhaust their attempts in a row before later ones get one; 0: off.
        failing_keys_max: keys of which that is remembered.
        lost_window_s: how near in time lost deliveries are one event.
        concurrency_max: deliveries in flight at most.
    """

    retry: RetryRules
    breaker: BreakerRules
    crowding_attempts_max: int
    failing_key_after: int
    failing_keys_max: int
    lost_window_s: float
    concurrency_max: int


class RetryPolicy:
    """Judges the deliveries of one endpoint.

    Takes: outcomes.
    Gives: verdicts; for lost deliveries later, by `judge_lost`.
    Holds at most: the lost deliveries of one window (`concurrency_max`), `failing_keys_max` keys, what the breaker holds, and
        the heads of lanes that were charged since the last success.
    """

    def __init__(self, rules: PolicyRules) -> None:
        self._rules = rules
        self._single = replace(rules.retry, attempts_max=1)
        self._crowding = replace(rules.retry, attempts_max=min(rules.retry.attempts_max, rules.crowding_attempts_max))
        self.breaker = Breaker(rules.breaker)
        self.throttle = Throttle(rules.concurrency_max)
        self._lost = LostDeliveries(rules.lost_window_s)
        self._failing_keys = FailingKeys(rules.failing_key_after, rules.failing_keys_max)
        self._answer = _Answer(0, 0.0, 0.0)
        self._probation = Probation()

    def succeeded(self, delivery: Delivery) -> None:
        """Note an accepted delivery: the hot path, so it touches only what is out of the ordinary."""
        self.breaker.succeeded()
        if self._probation.charges:
            self._probation.succeeded()
        if not self.throttle.is_wide_open:
            self.throttle.succeeded()
        self._failing_keys.succeeded(delivery.assignment.tp, delivery.lane)

    def judge(self, delivery: Delivery, outcome: Outcome, moment: Moment) -> Verdict | Undecided:
        """Decide what becomes of a delivery that was not accepted."""
        failures = delivery.failures = delivery.failures or FailureHistory()
        if isinstance(outcome, Withdrawn):
            failures.group = 0
            self.withdrawn(delivery)
            return Defer(after_s=0.0)
        failures.last = outcome
        failures.first_failed_at_ms = failures.first_failed_at_ms or moment.wall_ms
        failures.last_failed_at_ms = moment.wall_ms
        if failures.first_mark < 0:  # an endpoint that shuts down still ends what it had begun: that says nothing
            failures.first_mark = self.breaker.successes + moment.in_flight
        if isinstance(outcome, Retryable) and outcome.lost:
            return self._was_lost(delivery, failures, outcome, moment)
        failures.group = 0
        if isinstance(outcome, Unavailable):
            return self._unavailable(delivery, failures, outcome, moment)
        if isinstance(outcome, Undeliverable):
            self.withdrawn(delivery)
            return decide(outcome, failures.attempts, 0, self._rules.retry, moment.jitter)
        failures.suspect = False
        if isinstance(outcome, Rejected):
            if self.breaker.rejected(_identity(delivery), moment, _reason(outcome)):
                return self._defer(failures, None, moment)
        elif self.breaker.is_open or not self._is_own_fault(failures):
            self._endpoint_failed(delivery, outcome, moment)
            if self.breaker.is_open:
                return self._defer(failures, outcome.retry_after_s if isinstance(outcome, Retryable) else None, moment)
        return self._charge(delivery, failures, outcome, moment)

    def probe(self, delivery: Delivery) -> None:
        """Note that the delivery goes out while the breaker is open."""
        self.breaker.probe(_identity(delivery))

    def withdrawn(self, delivery: Delivery) -> None:
        """Note that the delivery came to nothing: if it was the probe, another may go out."""
        self.breaker.withdrawn(_identity(delivery))

    def left(self, delivery: Delivery) -> None:
        """Note that the record goes to the dead-letter topic, for whatever reason: it gets no attempt back."""
        self._probation.left(delivery)

    def judge_lost(self, moment: Moment) -> Iterator[tuple[Delivery, Verdict | Suspect]]:
        """Return the verdicts on the deliveries of a window that is over; `lost_due_s` says when that is."""
        judged = self._lost.judge(moment.now_s)
        for number, delivery in enumerate((*judged.charged, *judged.suspects)):
            failures = delivery.failures
            assert failures is not None
            assert failures.last is not None
            is_proven = was_suspect_alone(delivery)
            if number < len(judged.charged) and (is_proven or not self.breaker.is_open):
                yield delivery, self._charge(delivery, failures, failures.last, moment, is_proven=is_proven)
            else:
                failures.suspect = True
                yield delivery, SUSPECT

    @property
    def lost_due_s(self) -> float | None:
        return self._lost.due_s

    def forget(self, tp: TopicPartition) -> None:
        """Forget a partition that is no longer ours."""
        self._failing_keys.forget(tp)
        self._probation.forget(tp)
        self._lost.forget(tp)

    def is_expired(self, delivery: Delivery, wall_ms: int) -> bool:
        """Return True if the record is older than `record_age_max_s`; one without a timestamp, or of a replay, never is."""
        age_max_s, timestamp = self._rules.retry.record_age_max_s, delivery.record.timestamp
        if not age_max_s or timestamp < 0 or wall_ms - timestamp <= age_max_s * 1000:
            return False
        return not isinstance(delivery, ReplayedDelivery)

    def _unavailable(
        self, delivery: Delivery, failures: FailureHistory, outcome: Unavailable, moment: Moment
    ) -> Verdict:
        """Blame the endpoint, unless it kept serving others: then it is this record, if it had the answer for itself.

        Records that shared an answer wait until the same moment, so that they can share a request again.
        """
        breaker = self.breaker
        failures.deferrals += 1
        is_told = outcome.request != 0 and outcome.request == self._answer.request
        if not is_told:
            self._answer = _Answer(outcome.request, moment.now_s, moment.jitter)
        if outcome.throttled:
            self.throttle.asked_for_less(moment.now_s)
        if failures.deferrals == 1 or failures.deferrals_phase != breaker.phase:  # an outage is nobody's own failure
            failures.deferrals_mark, failures.deferrals_phase = breaker.successes + moment.in_flight, breaker.phase
        elif (
            not outcome.request
            and not breaker.is_open
            and breaker.successes - failures.deferrals_mark >= self._rules.breaker.successes_between
        ):
            blamed = Retryable(
                code=outcome.code,
                reason=outcome.reason,
                status=outcome.status,
                retry_after_s=outcome.retry_after_s,
                excerpt=outcome.excerpt,
            )
            return self._charge(delivery, failures, blamed, moment)
        if is_told:
            self.withdrawn(delivery)
        else:
            self._endpoint_failed(delivery, outcome, moment, outcome.retry_after_s or 0.0)
        rest_s = self._rest_s(failures.deferrals, outcome.retry_after_s, self._answer.jitter)
        return Defer(after_s=max(0.0, rest_s - (moment.now_s - self._answer.now_s)))

    def _was_lost(
        self, delivery: Delivery, failures: FailureHistory, outcome: Retryable, moment: Moment
    ) -> Verdict | Undecided:
        """Wait for the end of the window; a lost probe of an endpoint that is out anyway says nothing new.

        The others that a poison pill takes down may open the breaker before its own loss is seen: that is still one event.
        """
        is_nothing_new = self.breaker.is_open and self._lost.due_s is None
        if self.breaker.is_probe(_identity(delivery)):
            failures.group = 1
        self._endpoint_failed(delivery, outcome, moment)
        if is_nothing_new:
            failures.suspect = True
            return Defer(after_s=0.0)
        self._lost.add(delivery, moment.now_s)
        return UNDECIDED

    def _is_own_fault(self, failures: FailureHistory) -> bool:
        """Return True if enough deliveries of others succeeded since the record first failed."""
        return self.breaker.successes - failures.first_mark >= self._rules.breaker.successes_between

    def _endpoint_failed(
        self, delivery: Delivery, outcome: Outcome, moment: Moment, retry_after_s: float = 0.0
    ) -> None:
        """Count a failure against the endpoint; if that makes an outage, attempts charged since the last success are back."""
        self.breaker.failed(_identity(delivery), moment, _reason(outcome), retry_after_s)
        if self.breaker.is_open:
            self._probation.give_back()

    def _defer(self, failures: FailureHistory, retry_after_s: float | None, moment: Moment) -> Defer:
        """Deliver it again after a rest, at no cost."""
        failures.deferrals += 1
        if failures.deferrals == 1:
            failures.deferrals_mark = self.breaker.successes + moment.in_flight
        return Defer(after_s=self._rest_s(failures.deferrals, retry_after_s, moment.jitter))

    def _rest_s(self, deferrals: int, retry_after_s: float | None, jitter: float) -> float:
        """Return the back-off, but no more than the rest between probes while those alone go out."""
        rest_s = backoff_s(deferrals, self._rules.retry, jitter)
        if self.breaker.is_open:
            rest_s = min(rest_s, self._rules.breaker.probe_interval_s)
        return max(rest_s, retry_after_s or 0.0)

    def _charge(
        self, delivery: Delivery, failures: FailureHistory, outcome: Outcome, moment: Moment, *, is_proven: bool = False
    ) -> Verdict:
        """Charge an attempt, unless it would be the last one of a record that fails together with many others.

        Args:
            is_proven: the record was lost as the only suspect: it is to blame, whatever else fails.
        """
        failures.attempts += 1
        failures.deferrals = 0
        tp, lane = delivery.assignment.tp, delivery.lane
        verdict = decide(
            outcome, failures.attempts, failures.deferrals, self._rules_of(delivery, moment), moment.jitter
        )
        if not isinstance(verdict, DeadLetterRequest):
            self._probation.charged(delivery)
        elif verdict.disposition is Disposition.ATTEMPTS_EXHAUSTED:
            if self.breaker.is_failing and not is_proven:
                failures.attempts -= 1
                self.breaker.pause(moment)
                self._probation.give_back()
                return self._defer(failures, None, moment)
            if self.breaker.successes > failures.first_mark:  # else it may be everybody's fault, and not its key's
                self._failing_keys.exhausted(tp, lane)
        return verdict

    def _rules_of(self, delivery: Delivery, moment: Moment) -> RetryRules:
        if self._failing_keys.is_failing(delivery.assignment.tp, delivery.lane):
            return self._single
        return self._crowding if moment.is_crowding else self._rules.retry

    def statistics(self) -> dict[str, float]:
        return {
            "breaker_opened": self.breaker.opened,
            "breaker_rejections": self.breaker.rejections,
            "concurrency_limit": self.throttle.limit,
            "lost_undecided": len(self._lost),
            "failing_keys": len(self._failing_keys),
        }


def _identity(delivery: Delivery) -> object:
    """Return what tells the lane from others; a free delivery is its own."""
    return delivery if delivery.lane is None else (delivery.assignment.tp, delivery.lane)


def _reason(outcome: Outcome) -> str:
    """Describe the outcome as the reason why an endpoint is out."""
    return getattr(outcome, "reason", "")


class FailingKeys:
    """Keys whose records always fail: they must not fill their partition with back-offs.

    After `threshold` records of a key exhausted their attempts in a row, later ones get a single attempt until one succeeds.

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


class Probation:
    """Attempts charged since the endpoint's last success, which an outage before the next success gives back.

    charged a, charged b, success           both stand
    charged a, charged b, outage            both are given back

    Holds at most: heads of lanes that failed since then; `left` and `forget` drop what is no longer one.

    Attributes:
        charges: attempts by delivery; the hot path looks at it directly, because most often it is empty.
    """

    __slots__ = ("charges",)

    def __init__(self) -> None:
        self.charges: dict[Delivery, int] = {}

    def charged(self, delivery: Delivery) -> None:
        """Remember an attempt that was charged to a record that goes on."""
        self.charges[delivery] = self.charges.get(delivery, 0) + 1

    def succeeded(self) -> None:
        """Let all of them stand: the endpoint was up."""
        self.charges.clear()

    def give_back(self) -> None:
        """Give all of them back: the endpoint was out."""
        for delivery, attempts in self.charges.items():
            assert delivery.failures is not None
            delivery.failures.attempts -= attempts
        self.charges.clear()

    def left(self, delivery: Delivery) -> None:
        """Forget a record that is settled otherwise."""
        self.charges.pop(delivery, None)

    def forget(self, tp: TopicPartition) -> None:
        """Forget the records of a partition that is no longer ours."""
        for delivery in [delivery for delivery in self.charges if delivery.assignment.tp == tp]:
            del self.charges[delivery]


class Throttle:
    """A limit of concurrency between 1 and `concurrency_max`: additive increase, multiplicative decrease.

    Source: the congestion avoidance of TCP (RFC 5681, section 3.1), with answers 429 and 503 in place of lost segments.

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
        """Count a success; each full round of successes allows one more delivery in flight."""
        if self.limit < self._concurrency_max:
            self._credit += 1
            if self._credit >= self.limit:
                self._credit = 0
                self.limit += 1

    @override
    def __repr__(self) -> str:
        return f"<Throttle {self.limit}/{self._concurrency_max}>"
