"""The floor: the same POSTs from the daemon's REST adapter, without Kafka and without the pipeline.

Run it as a process: `python -m bench.floor URL RECORDS CONNECTIONS BYTES BATCH`; prints one JSON object.
"""

import asyncio
import gc
import json
import sys
import time
from collections import deque

import uvloop

from bench.workload import synthetic
from mpsd.config import Batch, RestDelivery
from mpsd.core.delivery import Assignment, Delivery
from mpsd.core.outcome import DELIVERED, Outcome
from mpsd.core.record import TopicPartition, record_bytes
from mpsd.delivery.rest import BatchAdapter, RestAdapter
from mpsd.ports import DeliveryAdapter


class Source:
    """A source of records that keeps an adapter busy until its last record."""

    def __init__(self, adapter: DeliveryAdapter, deliveries: deque[Delivery]) -> None:
        self._adapter = adapter
        self._left = deliveries
        self._unsettled = len(deliveries)
        self._loop = asyncio.get_running_loop()
        self._is_due = False
        self.failed = 0
        self.done = self._loop.create_future()

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        self.failed += outcome is not DELIVERED
        self._unsettled -= 1
        if not self._unsettled:
            self.done.set_result(None)
        elif not self._is_due:
            self._is_due = True
            self._loop.call_soon(self.pump)

    def pump(self) -> None:
        self._is_due = False
        left = self._left
        batch = [left.popleft() for _ in range(min(len(left), self._adapter.demand().records))]
        if batch:
            self._adapter.deliver(batch)


def _adapter(url: str, connections: int, batch: int) -> DeliveryAdapter:
    delivery = RestDelivery(protocol="rest", url=url, concurrency_max=connections, batch=Batch(records_max=batch))
    return RestAdapter("bench", delivery) if batch == 1 else BatchAdapter("bench", delivery)


async def floor(url: str, records: int, connections: int, body_bytes: int, batch: int) -> dict[str, float]:
    """Return the records per second, and the CPU time per record."""
    adapter = _adapter(url, connections, batch)
    assignment = Assignment(TopicPartition("bench", 0), 1)
    deliveries = deque(Delivery(r, assignment, r.key, record_bytes(r)) for r in synthetic(records, 10_000, body_bytes))
    source = Source(adapter, deliveries)
    await adapter.start(source.pump, source.settle)
    gc.collect()
    gc.freeze()
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    source.pump()
    await source.done
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    await adapter.close(1.0)
    if source.failed:
        sys.exit(f"{source.failed} deliveries failed")
    return {"records_per_s": records / elapsed_s, "cpu_us": cpu_s / records * 1e6}


if __name__ == "__main__":
    url, *numbers = sys.argv[1:]
    print(json.dumps(uvloop.run(floor(url, *(int(number) for number in numbers)))))
