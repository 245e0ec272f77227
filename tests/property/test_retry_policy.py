"""The RetryPolicy in front of endpoints that go out, crash, or stumble over single records.

The driver does what the Writer does, in steps of a tenth of a second, as simply as it can be written.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from mpsd.core.breaker import BreakerRules
from mpsd.core.delivery import Delivery, Seat
from mpsd.core.outcome import DELIVERED, Moment, Outcome
from mpsd.core.retry import DeadLetterRequest, Defer, Disposition, Retry, RetryRules, Verdict
from mpsd.core.retry_policy import PolicyRules, RetryPolicy, Suspect, Undecided
from mpsd.core.suspects import Suspects
from tests.fakes.records import BUSY, FAILED, LOST, POISON, REFUSED, TAKEN_BACK, delivery

ATTEMPTS_MAX = 4
LANES_MIN = 3
FAILING_KEY_AFTER = 2
STEP_S = 0.1
STEPS_MAX = 30_000
"""Fifty minutes: whatever ends at all has ended by then."""

Endpoint = Callable[[Sequence[Delivery], float], list[Outcome]]
"""A function that returns the outcomes of deliveries that are in flight together."""


class Driver:
    """Lanes of records, each waiting in one place."""

    def __init__(self, lanes: Sequence[int], concurrency_max: int, seed: int, *, rejections_max: int = 0) -> None:
        """So many lanes, each with so many records."""
        self.draw = random.Random(seed)
        self.concurrency_max = concurrency_max
        self.policy = RetryPolicy(
            PolicyRules(
                retry=RetryRules(attempts_max=ATTEMPTS_MAX, backoff_initial_s=0.2, backoff_max_s=5.0),
                breaker=BreakerRules(
                    lanes_min=LANES_MIN,
                    failures_min=6,
                    successes_between=5,
                    probe_interval_s=1.0,
                    rejections_max=rejections_max,
                    rejection_lanes_min=LANES_MIN,
                ),
                crowding_attempts_max=ATTEMPTS_MAX,
                failing_key_after=FAILING_KEY_AFTER,
                failing_keys_max=100,
                lost_window_s=1.0,
                concurrency_max=concurrency_max,
            )
        )
        self.behind = [
            deque(delivery(lane * 1000 + number, b"%d" % lane) for number in range(records))
            for lane, records in enumerate(lanes)
        ]
        self.ready = deque(lane.popleft() for lane in self.behind if lane)
        self.suspects = Suspects()
        self.resting: list[tuple[float, Delivery]] = []
        self.now_s = 0.0
        self.unsettled = sum(lanes)
        self.delivered: Counter[int] = Counter()
        self.charged: Counter[int] = Counter()
        self.entry: dict[int, Disposition] = {}
        self.accepted: list[Delivery] = []
        self.probes = 0

    def run(self, endpoint: Endpoint) -> None:
        """Until everything is settled."""
        for _ in range(STEPS_MAX):
            if not self.unsettled:
                return
            self.now_s += STEP_S
            for lost, verdict in list(self.policy.judge_lost(self._moment())):
                self._apply(lost, verdict)
            for due in [each for each in self.resting if each[0] <= self.now_s]:
                self.resting.remove(due)
                self._ready_again(due[1])
            batch = self._next()
            self.delivered.update(each.record.offset for each in batch)
            settled = list(zip(batch, endpoint(batch, self.now_s), strict=True))
            self.draw.shuffle(settled)
            for each, outcome in settled:
                self._settle(each, outcome)
        raise AssertionError(f"{self.unsettled} records are not settled after {self.now_s:.0f} s")

    @property
    def attempts_left(self) -> int:
        """Attempts that were charged to records which were delivered, and never given back."""
        return sum(each.failures.attempts for each in self.accepted if each.failures is not None)

    def _moment(self) -> Moment:
        return Moment(self.now_s, int(self.now_s * 1000), self.draw.random())

    def _next(self) -> list[Delivery]:
        batch = self._next_batch()
        for each in batch:
            each.seat = Seat.IN_FLIGHT
        return batch

    def _next_batch(self) -> list[Delivery]:
        if self.policy.breaker.is_open:
            if not self.policy.breaker.may_probe(self.now_s):
                return []
            self.probes += 1
            take = self.ready.popleft if self.probes % 2 else self.ready.pop
            probes = [take()] if self.ready else self._next_suspects(1)
            for probe in probes:
                self.policy.probe(probe)
            return probes
        limit = min(self.concurrency_max, self.policy.throttle.limit)
        batch = self._next_suspects(limit)
        while self.ready and len(batch) < limit:
            batch.append(self.ready.popleft())
        return batch

    def _next_suspects(self, records_max: int) -> list[Delivery]:
        return self.suspects.take(records_max, 1 << 30, lambda _: False, lambda _: True)

    def _settle(self, settled: Delivery, outcome: Outcome) -> None:
        self.suspects.ended(settled, outcome)
        if outcome is DELIVERED:
            self.policy.succeeded(settled)
            self.accepted.append(settled)
            self._finish(settled)
            return
        verdict = self.policy.judge(settled, outcome, self._moment())
        if not isinstance(verdict, Undecided):
            self._apply(settled, verdict)

    def _apply(self, settled: Delivery, verdict: Verdict | Suspect) -> None:
        assert settled.failures is not None
        assert settled.failures.attempts <= ATTEMPTS_MAX
        self.charged[settled.record.offset] = settled.failures.attempts
        match verdict:
            case Suspect():
                self.suspects.lost(settled)
            case Defer(after_s=after_s) | Retry(after_s=after_s) if after_s > 0:
                self.resting.append((self.now_s + after_s, settled))
            case Defer() | Retry():
                self._ready_again(settled)
            case DeadLetterRequest(disposition=disposition):
                self.entry[settled.record.offset] = disposition
                self._finish(settled)
            case _:
                raise AssertionError(verdict)

    def _ready_again(self, settled: Delivery) -> None:
        if settled.failures is not None and settled.failures.suspect:
            self.suspects.rested(settled)
        else:
            self.ready.appendleft(settled)

    def _finish(self, settled: Delivery) -> None:
        self.unsettled -= 1
        lane = self.behind[settled.record.offset // 1000]
        if lane:
            self.ready.append(lane.popleft())


LANES = st.lists(st.integers(1, 6), min_size=LANES_MIN, max_size=12)
CONCURRENCY = st.integers(LANES_MIN, 8)
SEED = st.integers(0, 2**32)


@given(LANES, CONCURRENCY, SEED, st.floats(5.0, 100.0), st.floats(0.0, 1.0))
def test_an_outage_spends_no_attempts_and_ends(
    lanes: list[int], concurrency_max: int, seed: int, out_s: float, lost_share: float
) -> None:
    driver = Driver(lanes, concurrency_max, seed)

    def outage(batch: Sequence[Delivery], now_s: float) -> list[Outcome]:
        if now_s > out_s:
            return [DELIVERED] * len(batch)
        answers: list[Outcome] = [REFUSED, BUSY, FAILED]
        return [LOST if driver.draw.random() < lost_share else driver.draw.choice(answers) for _ in batch]

    driver.run(outage)
    assert not driver.entry
    assert driver.attempts_left == 0
    evidence, first_probes = 6 + concurrency_max, 4
    assert driver.delivered.total() <= sum(lanes) + evidence + len(lanes) + first_probes + out_s / 1.0 + 1


@given(st.lists(st.integers(1, 30), min_size=LANES_MIN, max_size=12), CONCURRENCY, SEED, st.integers(1, 20))
def test_a_brake_dead_letters_at_most_so_many_and_loses_none(
    lanes: list[int], concurrency_max: int, seed: int, rejections_max: int
) -> None:
    driver = Driver(lanes, concurrency_max, seed, rejections_max=rejections_max)
    driver.run(lambda batch, now_s: [POISON if now_s < 60.0 else DELIVERED for _ in batch])
    few_lanes = max(sum(sorted(lanes)[-(LANES_MIN - 1) :]), rejections_max)
    assert len(driver.entry) <= few_lanes
    assert set(driver.entry.values()) <= {Disposition.REJECTED}


@given(st.lists(st.integers(5, 30), min_size=5, max_size=12), CONCURRENCY, SEED, st.floats(0.1, 0.6))
def test_a_poison_record_dies_in_a_brown_out_and_the_others_do_not(
    lanes: list[int], concurrency_max: int, seed: int, failing_share: float
) -> None:
    """Half of all requests failing at random is no outage to hide a poison record behind."""
    driver = Driver([1, *lanes], concurrency_max, seed)

    def brown_out(batch: Sequence[Delivery], now_s: float) -> list[Outcome]:
        fails = [now_s < 2.0 and driver.draw.random() < failing_share for _ in batch]
        if driver.unsettled == 1:  # nobody else is left to tell it from an outage
            return [DELIVERED] * len(batch)
        return [FAILED if bad or not each.record.offset else DELIVERED for bad, each in zip(fails, batch, strict=True)]

    driver.run(brown_out)
    assert driver.delivered[0] >= 1
    assert set(driver.entry.values()) <= {Disposition.ATTEMPTS_EXHAUSTED}


@given(LANES, CONCURRENCY, SEED, st.data())
def test_a_record_that_takes_everything_down_ends_and_harms_nobody(
    lanes: list[int], concurrency_max: int, seed: int, data: st.DataObject
) -> None:
    driver = Driver(lanes, concurrency_max, seed)
    lane = data.draw(st.integers(0, len(lanes) - 1))
    poison = lane * 1000 + data.draw(st.integers(0, lanes[lane] - 1))

    def crashing(batch: Sequence[Delivery], now_s: float) -> list[Outcome]:
        falls = any(each.record.offset == poison for each in batch)
        return [LOST if falls else DELIVERED for _ in batch]

    driver.run(crashing)
    assert driver.entry == {poison: Disposition.ATTEMPTS_EXHAUSTED}
    halvings = concurrency_max.bit_length()
    assert driver.delivered[poison] <= 2 * ATTEMPTS_MAX + 1 + halvings
    assert +driver.charged == {poison: ATTEMPTS_MAX}


@given(st.lists(st.integers(3, 30), min_size=5, max_size=12), CONCURRENCY, SEED)
def test_a_record_that_looks_like_an_outage_ends_as_long_as_others_succeed(
    lanes: list[int], concurrency_max: int, seed: int
) -> None:
    driver = Driver([1, *lanes], concurrency_max, seed)

    def stumbling(batch: Sequence[Delivery], now_s: float) -> list[Outcome]:
        if driver.unsettled == 1:  # nobody else is left to tell it from an outage
            return [DELIVERED] * len(batch)
        return [REFUSED if each.record.offset == 0 else DELIVERED for each in batch]

    driver.run(stumbling)
    assert driver.entry in ({}, {0: Disposition.ATTEMPTS_EXHAUSTED})
    assert driver.charged[0] == ATTEMPTS_MAX or not driver.entry
    assert not [offset for offset in +driver.charged if offset]


@settings(max_examples=200)
@given(
    LANES, CONCURRENCY, SEED, st.lists(st.sampled_from([FAILED, LOST, REFUSED, BUSY, POISON, TAKEN_BACK]), max_size=80)
)
def test_whatever_happens_ends_once_it_is_over_and_spends_no_more_than_there_is(
    lanes: list[int], concurrency_max: int, seed: int, failures: list[Outcome]
) -> None:
    driver = Driver(lanes, concurrency_max, seed)
    left = deque(failures)
    driver.run(lambda batch, now_s: [left.popleft() if left else DELIVERED for _ in batch])
    assert max(driver.charged.values(), default=0) <= ATTEMPTS_MAX
    exhausted = [offset for offset, why in driver.entry.items() if why is Disposition.ATTEMPTS_EXHAUSTED]
    for offset in exhausted:
        before = [other for other in exhausted if other // 1000 == offset // 1000 and other < offset]
        assert driver.charged[offset] == ATTEMPTS_MAX or len(before) >= FAILING_KEY_AFTER


@given(st.integers(FAILING_KEY_AFTER + 1, 20), CONCURRENCY, SEED)
def test_a_key_that_always_fails_while_others_succeed_costs_little_once_that_is_known(
    records: int, concurrency_max: int, seed: int
) -> None:
    driver = Driver([records, 200, 200], concurrency_max, seed)
    driver.run(lambda batch, now_s: [FAILED if each.record.offset < 1000 else DELIVERED for each in batch])
    sick, known = driver.delivered, FAILING_KEY_AFTER
    assert [sick[offset] for offset in range(known)] == [ATTEMPTS_MAX] * known
    assert [sick[offset] for offset in range(known, records)] == [1] * (records - known)
    assert set(driver.entry) == set(range(records))
