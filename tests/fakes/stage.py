"""The inner stages wired up around doubles, for tests of one stage."""

from mpsd.config import Ordering
from mpsd.core.breaker import BreakerRules
from mpsd.core.delivery import Delivery
from mpsd.core.offset_tracker import OffsetTracker
from mpsd.core.rate import TokenBucket
from mpsd.core.retry import DeadLetterRequest, RetryRules
from mpsd.core.retry_policy import PolicyRules, RetryPolicy
from mpsd.core.states import DeliveryState
from mpsd.pipeline.order_iterator import OrderIterator
from mpsd.pipeline.pending_queue import PartitionQueue, PendingBudget, PendingQueue
from mpsd.pipeline.writer import Application, Writer
from tests.fakes.adapter import FakeAdapter
from tests.fakes.clock import loop_clock
from tests.fakes.records import PRODUCED_MS, Row, assigned
from tests.fakes.source import FakeSource


def policy_rules(
    *,
    attempts_max: int = 3,
    backoff_initial_s: float = 1.0,
    backoff_max_s: float = 30.0,
    record_age_max_s: float = 0.0,
    lanes_min: int = 3,
    successes_between: int = 5,
    concurrency_max: int = 64,
    failing_key_after: int = 3,
) -> PolicyRules:
    return PolicyRules(
        retry=RetryRules(
            attempts_max=attempts_max,
            backoff_initial_s=backoff_initial_s,
            backoff_max_s=backoff_max_s,
            record_age_max_s=record_age_max_s,
        ),
        breaker=BreakerRules(
            lanes_min=lanes_min, failures_min=lanes_min, successes_between=successes_between, probe_interval_s=1.0
        ),
        crowding_attempts_max=attempts_max,
        failing_key_after=failing_key_after,
        failing_keys_max=100,
        lost_window_s=1.0,
        concurrency_max=concurrency_max,
    )


class Stage:
    """PendingQueue, OrderIterator and Writer as the Pipeline wires them; what is dead-lettered stays where it is.

    Jitter is 1, so that every back-off is as long as it can be.
    """

    def __init__(
        self,
        rules: PolicyRules | None = None,
        *,
        concurrency_max: int = 64,
        rate_per_s: float | None = None,
        records_max: int = 10_000,
        bytes_max: int = 1 << 30,
        ordering: Ordering | None = None,
        is_dead_lettering: bool = True,
    ) -> None:
        clock = loop_clock()
        self.monotonic_s = clock.monotonic_s
        self.adapter = FakeAdapter(concurrency_max)
        self.source = FakeSource()
        self.order = OrderIterator()
        self.policy = RetryPolicy(rules or policy_rules())
        self.budget = PendingBudget(1 << 40)
        self.room_calls = 0
        self.pending = PendingQueue(
            ordering or Ordering(), records_max, bytes_max, self.budget, self.on_ready, self._on_room, self._on_full
        )
        self.entry: list[tuple[int, str]] = []
        self.bucket = TokenBucket(rate_per_s, clock.monotonic_s())
        self.writer = Writer(
            "billing",
            self.pending,
            self.order,
            Application(adapter=self.adapter, policy=self.policy, bucket=self.bucket),
            self.source,
            self.dead_letter,
            clock,
        )
        self._is_dead_lettering = is_dead_lettering

    def open(self, partition: int = 0) -> PartitionQueue:
        queue = PartitionQueue(assigned(partition), OffsetTracker(0), -1, 0)
        self.pending.open(queue)
        return queue

    def read(self, queue: PartitionQueue, *keys: bytes | None, timestamp: int = PRODUCED_MS) -> int:
        """One record a key; returns how many were taken."""
        partition, begin = queue.assignment.tp.partition, queue.tracker.end
        rows = [
            Row(partition=partition, offset=begin + number, key=key, timestamp=timestamp)
            for number, key in enumerate(keys)
        ]
        return self.pending.add(queue, rows, self.monotonic_s())

    def feed(self, *keys: bytes | None, partition: int = 0, timestamp: int = PRODUCED_MS) -> PartitionQueue:
        """Open a partition, and read a record a key."""
        queue = self.open(partition)
        self.read(queue, *keys, timestamp=timestamp)
        return queue

    def on_ready(self, queue: PartitionQueue) -> None:
        self.order.ready(queue)
        self.writer.wake()

    def stop(self, queue: PartitionQueue, *, leaves: bool) -> None:
        """Hold the partition because it leaves, or release it because it stays."""
        if leaves:
            queue.stop(DeliveryState.DRAINING)
        elif queue.go_on(DeliveryState.DRAINING):
            self.on_ready(queue)

    async def done(self, *queues: PartitionQueue) -> None:
        """Until nothing of the partitions is unfinished."""
        await self.adapter.until(lambda: all(not queue.tracker.unfinished for queue in queues))

    def dead_letter(self, queue: PartitionQueue, delivery: Delivery, verdict: DeadLetterRequest) -> None:
        self.entry.append((delivery.record.offset, verdict.disposition.value))
        if self._is_dead_lettering:
            queue.dead_letter_pending -= 1
            self.pending.finish(queue, delivery)
        self.adapter.changed()

    def _on_room(self) -> None:
        self.room_calls += 1

    def _on_full(self, queue: PartitionQueue) -> None:
        self.writer.partition_full(queue)
