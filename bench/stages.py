"""The CPU time in µs per record of each stage, with cheap fakes in place of its neighbours.

Run as a process of its own: `python -m bench.stages CONFIG RECORDS BYTES`; prints one JSON object. The POST is not here: it
needs the sink and is measured by `bench.floor`.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import uvloop
from typing_extensions import override

from bench.workload import synthetic
from mpsd.config import Config, load
from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.offset_tracker import OffsetTracker
from mpsd.core.outcome import DELIVERED
from mpsd.core.rate import TokenBucket
from mpsd.core.record import TopicPartition
from mpsd.core.retry_policy import RetryPolicy
from mpsd.kafka.connection import ClientOptions
from mpsd.kafka.group import KafkaGroup
from mpsd.pipeline.order_iterator import OrderIterator
from mpsd.pipeline.pending_queue import PartitionQueue, PendingBudget, PendingQueue
from mpsd.pipeline.reader import RECORDS_PER_FETCH_MAX, WAIT_S
from mpsd.pipeline.writer import Application, Writer
from mpsd.ports import AdapterStatistics, Demand, Peer, Position
from mpsd.service.build import group_settings, pipeline_settings

PARTITIONS = 8
KEYS = 10_000
READ_TIMEOUT_S = 60.0


class Listener:
    """A listener of the group that only stores its assignments."""

    def __init__(self) -> None:
        self.assigned: list[Assignment] = []
        self.has_some = asyncio.Event()

    def on_assigned(self, assignment: Assignment, position: Position) -> None:
        self.assigned.append(assignment)
        self.has_some.set()

    def on_leaving(self, assignment: Assignment) -> None: ...
    def on_stays(self, assignment: Assignment) -> None: ...
    def on_share(self, share: float) -> None: ...
    def on_peers(self, peers: Sequence[Peer]) -> None: ...
    def on_log_end(self, assignment: Assignment, log_end: int, stable_end: int) -> None: ...
    def on_unreadable(self, assignment: Assignment, offset: int, reason: str) -> None: ...

    def on_lost(self, assignment: Assignment) -> None: ...


class Taker:
    """An adapter that takes a number of deliveries and keeps them."""

    def __init__(self, records: int) -> None:
        self._room = records
        self.taken: Sequence[Delivery] = ()

    async def start(self, *_: object) -> None: ...
    def demand(self) -> Demand:
        return Demand(self._room - len(self.taken), 1 << 40)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        self.taken = batch

    async def revoke(self, assignment: Assignment, deadline_s: float) -> None: ...
    async def close(self, deadline_s: float) -> None: ...
    def on_peers(self, peers: Sequence[Peer]) -> None: ...
    def statistics(self) -> AdapterStatistics:
        return AdapterStatistics({})


class Member(KafkaGroup):
    """A member whose lease never ends."""

    @override
    def lease_left_s(self) -> float:
        return 1.0


async def fetched(config: Config, records: int) -> float:
    """Measure the fetch: from the bytes of the broker to records."""
    group, listener = (
        KafkaGroup(group_settings(config, config.subscriptions[0]), ClientOptions(config.kafka)),
        Listener(),
    )
    await group.start(listener)
    read, began_s = 0, 0.0
    async with asyncio.timeout(READ_TIMEOUT_S):
        await listener.has_some.wait()
        while read < records:
            got = await group.fetch(listener.assigned, RECORDS_PER_FETCH_MAX, WAIT_S)
            began_s = began_s or time.process_time()
            read += sum(len(part.records) for part in got.values())
    spent_s = time.process_time() - began_s
    await group.close()
    return spent_s / read * 1e6


async def handled(config: Config, records: int, value_bytes: int) -> dict[str, float]:
    """Measure the pipeline: from records to deliveries, and from outcomes to finished offsets."""
    settings, in_flight = pipeline_settings(config.subscriptions[0]), config.subscriptions[0].delivery.concurrency_max
    order, taker, policy = OrderIterator(), Taker(in_flight), RetryPolicy(settings.rules)
    pending = PendingQueue(
        settings.ordering, settings.records_max, settings.bytes_max, PendingBudget(1 << 40), order.ready, _nothing
    )
    member = Member(group_settings(config, config.subscriptions[0]), {})
    application = Application(adapter=taker, policy=policy, bucket=TokenBucket(None, 0.0))
    writer = Writer("bench", pending, order, application, member, _nothing)
    await writer.start()
    queues = deque(_opened(pending, partition) for partition in range(PARTITIONS))
    coming = synthetic(records, KEYS, value_bytes)
    spent_s: defaultdict[str, float] = defaultdict(float)
    gc.collect()
    gc.freeze()
    while chunk := list(islice(coming, RECORDS_PER_FETCH_MAX)):
        queues.rotate()
        began_s = time.thread_time()
        pending.add(queues[0], chunk, began_s)
        spent_s["pending queue"] += time.thread_time() - began_s
        while order:
            began_s = time.thread_time()
            writer.wake()
            await asyncio.sleep(0)
            spent_s["order and writer"] += time.thread_time() - began_s
            taken, taker.taken = taker.taken, ()
            began_s = time.thread_time()
            for delivery in taken:
                writer.settle(delivery, DELIVERED)
            spent_s["settle"] += time.thread_time() - began_s
    writer.stop()
    return {stage: seconds / records * 1e6 for stage, seconds in spent_s.items()}


def _opened(pending: PendingQueue, partition: int) -> PartitionQueue:
    queue = PartitionQueue(Assignment(TopicPartition("bench", partition), 1), OffsetTracker(0), 0, 0)
    pending.open(queue)
    return queue


def _nothing(*_: object) -> None: ...


async def stages(config: Config, records: int, value_bytes: int) -> dict[str, float]:
    """Measure all stages, in the order of the path of a record."""
    return {"fetch and decode": await fetched(config, records), **await handled(config, records, value_bytes)}


if __name__ == "__main__":
    loaded = load(Path(sys.argv[1]), os.environ, {})
    print(json.dumps(uvloop.run(stages(loaded, int(sys.argv[2]), int(sys.argv[3])))))
