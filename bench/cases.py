"""Cases and targets: one factor varied at a time from a base."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from bench.workload import Workload

RECORDS = 100_000
SILENT_S = 8.0
"""Longer than `kafka.silence_max_ms`, so that the daemon has given up its requests when the broker comes back."""
GROWTH_MAX = 1.25
"""Cost per record relative to the base's, over partitions, keys and backlog."""


class Kind(Enum):
    """The kind of measurement of a case."""

    THROUGHPUT = "from the first delivery of a full topic to the last"
    FULL = "an application that never answers, until the memory no longer grows"
    STATUS = "the same, while an operator asks for the status again and again"
    LATENCY = "500 records a second, from the producer's call to the sink"
    OUTAGE = "2,000 records a second; the broker is frozen or killed meanwhile, and comes back"
    FLOOR = "the adapter alone, without Kafka and pipeline"
    CEILING = "the sink alone, with a client that repeats one request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The value that a figure should reach.

    Attributes:
        figure: a field of `bench.figures.Figures`.
        sense: `min` if the figure must be at least the bound, `max` if at most.
        bound: the bound that must be kept.
        aim: a better value that the project wants to reach; None: none.
    """

    figure: str
    sense: Literal["min", "max"]
    bound: float
    aim: float | None = None

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.sense == "min" else value <= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table.

    Attributes:
        delay_ms: time in ms that the application takes for a record.
        in_flight: `delivery.concurrency_max`.
        batch: `delivery.batch.records_max`.
        way: `delivery.protocol`.
        callers: number of streams or of callers that pull; `in_flight` is the credit or the lease of each.
        frozen_s: time in s for which the broker is silent in an outage; 0: it is killed and started again.
        grows_from: name of the case with which the cost per record is compared; empty: none.
    """

    name: str
    title: str
    workload: Workload
    kind: Kind = Kind.THROUGHPUT
    delay_ms: float = 0.0
    in_flight: int = 64
    batch: int = 1
    way: Literal["rest", "stream", "pull"] = "rest"
    callers: int = 0
    frozen_s: float = 0.0
    grows_from: str = ""
    targets: tuple[Target, ...] = ()


RATE = "records_per_s"
CPU = "cpu_us"
GROWTH = Target(figure="growth", sense="max", bound=GROWTH_MAX)
BASE = Workload(records=RECORDS)


def cases(records: int = RECORDS) -> list[Case]:
    """Return all cases, in the order of the table.

    Args:
        records: number of records of the base case; the large backlog has five times as many.
    """
    base = replace(BASE, records=records)
    at_least_18k = Target(figure=RATE, sense="min", bound=18_000)
    return [
        Case(name="ceiling", title="sink's ceiling, 64 connections", kind=Kind.CEILING, workload=base),
        Case(name="floor", title="floor: adapter alone", kind=Kind.FLOOR, workload=base),
        Case(
            name="base",
            title="base: 8 partitions, 10,000 keys, 0 ms, 64",
            workload=base,
            targets=(
                Target(figure=RATE, sense="min", bound=20_000, aim=28_000),
                Target(figure=CPU, sense="max", bound=45, aim=32),
                Target(figure="first_s", sense="max", bound=1.0),
            ),
        ),
        Case(name="zipf", title="Zipf 1.1 keys", workload=replace(base, zipf=1.1), targets=(at_least_18k,)),
        Case(
            name="slow", title="5 ms, 256 in flight", workload=base, delay_ms=5, in_flight=256, targets=(at_least_18k,)
        ),
        Case(
            name="slow-1",
            title="5 ms, 256, 1 partition",
            workload=replace(base, partitions=1),
            delay_ms=5,
            in_flight=256,
            grows_from="slow",
            targets=(at_least_18k, GROWTH),
        ),
        _grown("partitions-1", "1 partition", replace(base, partitions=1)),
        _grown("partitions-64", "64 partitions", replace(base, partitions=64)),
        _grown("keys-100", "100 keys", replace(base, keys=100)),
        _grown("keys-1000000", "1,000,000 keys", replace(base, keys=1_000_000)),
        _grown("backlog", f"{5 * records:,} records", replace(base, records=5 * records)),
        Case(
            name="batch-floor",
            title="floor of batches: adapter alone, 100 a batch",
            kind=Kind.FLOOR,
            workload=base,
            batch=100,
        ),
        Case(
            name="batch",
            title="batched POST, 100 a batch",
            workload=replace(base, records=5 * records),
            in_flight=16,
            batch=100,
            targets=(
                Target(figure=RATE, sense="min", bound=40_000, aim=60_000),
                Target(figure=CPU, sense="max", bound=25),
            ),
        ),
        Case(
            name="stream",
            title="stream, credit 1,000, two streams",
            workload=replace(base, records=5 * records),
            way="stream",
            in_flight=1_000,
            callers=2,
            targets=(
                Target(figure=RATE, sense="min", bound=40_000, aim=55_000),
                Target(figure=CPU, sense="max", bound=28),
            ),
        ),
        Case(
            name="pull",
            title="pull, 100 a lease, four callers",
            workload=replace(base, records=5 * records),
            way="pull",
            in_flight=100,
            callers=4,
            targets=(
                Target(figure=RATE, sense="min", bound=20_000, aim=30_000),
                Target(figure=CPU, sense="max", bound=50),
            ),
        ),
        _full("full", "full queues, stalled application", base),
        _full("full-64", "the same, 64 partitions", replace(base, partitions=64)),
        Case(
            name="latency",
            title="500 records/s",
            kind=Kind.LATENCY,
            workload=base,
            targets=(
                Target(figure="p50_ms", sense="max", bound=3),
                Target(figure="p99_ms", sense="max", bound=30),
            ),
        ),
        Case(
            name="status",
            title="base, and mpsctl status 20 times a second",
            kind=Kind.STATUS,
            workload=replace(base, records=5 * records),
            targets=(Target(figure="p99_ms", sense="max", bound=100),),
        ),
        Case(
            name="stream-latency",
            title="stream, 500 records/s",
            kind=Kind.LATENCY,
            workload=base,
            way="stream",
            in_flight=1_000,
            callers=2,
            targets=(Target(figure="p99_ms", sense="max", bound=20, aim=10),),
        ),
        _outage("broker-silent", f"broker silent for {SILENT_S:.0f} s", base, SILENT_S),
        _outage("broker-killed", "broker killed, started again at once", base),
    ]


def _grown(name: str, title: str, workload: Workload) -> Case:
    return Case(name=name, title=title, workload=workload, grows_from="base", targets=(GROWTH,))


def _outage(name: str, title: str, workload: Workload, frozen_s: float = 0.0) -> Case:
    target = Target(figure="on_again_s", sense="max", bound=5)
    return Case(name=name, title=title, kind=Kind.OUTAGE, workload=workload, frozen_s=frozen_s, targets=(target,))


def _full(name: str, title: str, workload: Workload) -> Case:
    target = Target(figure="peak_mib", sense="max", bound=150)
    return Case(name=name, title=title, kind=Kind.FULL, workload=workload, targets=(target,))
