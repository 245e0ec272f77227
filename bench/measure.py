"""One run of one case."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, assert_never

from grpc import aio

from bench.cases import Case, Kind
from bench.daemon import Daemon
from bench.figures import Figures, quantile
from bench.machine import bound_to
from bench.stage import POLL_S, Stage
from bench.workload import timed
from mps.admin.v1 import admin_pb2, admin_pb2_grpc
from mpsd.demo.broker import KafkaCluster
from mpsd.errors import MpsError
from mpsd.kafka.topics import Topics

STALLED_S = 20.0
"""Time without a delivery after which a run has failed."""
WARM_UP_SHARE = 10
STEADY_S = 3.0
"""Time without growth after which the memory counts as constant."""
PACE_PER_S = 500
PACED_S = 12.0
PACED_WARM_UP_S = 2.0
OUTAGE_PER_S = 2_000
OUTAGE_PACED_S = 4.0
"""The broker breaks after a third of this time. The other records are produced before its return, and wait in the producer."""
ASK_S = 0.05

Beside = Callable[[Daemon], Coroutine[Any, Any, None]]


class RunFailed(MpsError):
    """The error of a run in which the daemon did not do what the case needs."""

    code = "bench.run_failed"


async def measure(stage: Stage, case: Case) -> Figures:
    """Measure a case, and end all processes that were started for it.

    Raises:
        MpsError: the case could not be measured.
    """
    match case.kind:
        case Kind.THROUGHPUT:
            return await throughput(stage, case)
        case Kind.STATUS:
            return await _status(stage, case)
        case Kind.FULL:
            return await _full(stage, case)
        case Kind.LATENCY:
            return await _latency(stage, case)
        case Kind.OUTAGE:
            return await _outage(stage, case)
        case Kind.FLOOR:
            return await _tool(stage, case, "bench.floor")
        case Kind.CEILING:
            return await _tool(stage, case, "bench.hammer")
        case _:
            assert_never(case.kind)


async def throughput(
    stage: Stage, case: Case, sampled_into: Path | None = None, beside: Beside | None = None
) -> Figures:
    """Deliver a topic from end to end, and return the figures.

    Args:
        beside: runs meanwhile, and is cancelled at the end.

    Raises:
        RunFailed: a record was not delivered, or not exactly once, or not committed.
    """
    records = case.workload.records
    warm_up = max(1, records // WARM_UP_SHARE)
    topic = await stage.topic_of(case.workload)
    ends = await stage.topics.log_end(topic)
    orders: dict[str, object] = {"records": records, "warm_up": warm_up, "delay_ms": case.delay_ms}
    await stage.sink.begin(**orders)
    daemon = Daemon(stage, topic, case, sampled_into=sampled_into)
    await stage.sink.begin(**orders, **daemon.calls, pid=daemon.pid)
    meanwhile = asyncio.create_task(beside(daemon)) if beside is not None else None
    await _arrived(stage, daemon, records)
    if meanwhile is not None:
        meanwhile.cancel()
    peak_mib = daemon.peak_mib()
    committed = await daemon.stop()
    seen = await stage.sink.seen()
    if seen.records != records or any(end != committed.get(tp, 0) for tp, end in ends.items()):
        raise RunFailed(f"{case.name}: {seen.records} deliveries of {records} records, committed {committed} of {ends}")
    first, warm, last = seen.marks[0], seen.marks[-2], seen.marks[-1]
    return Figures(
        records_per_s=(records - 1) / (last.at_s - first.at_s),
        cpu_us=(last.cpu_s - first.cpu_s) / (records - 1) * 1e6,
        busy=(last.cpu_s - first.cpu_s) / (last.at_s - first.at_s),
        steady_cpu_us=(last.cpu_s - warm.cpu_s) / (records - warm.records) * 1e6,
        peak_mib=peak_mib,
        first_s=first.at_s - daemon.started_s,
        sink_cpu_us=seen.sink_cpu_s / records * 1e6,
    )


async def _status(stage: Stage, case: Case) -> Figures:
    waits_ms: list[float] = []

    async def ask(daemon: Daemon) -> None:
        async with aio.insecure_channel(daemon.admin_address) as channel:
            stub: Any = admin_pb2_grpc.AdminStub(channel)
            while True:
                began_s = time.monotonic()
                with suppress(aio.AioRpcError):  # it does not listen yet
                    await stub.GetStatus(admin_pb2.GetStatusRequest(partitions=True))
                    waits_ms.append((time.monotonic() - began_s) * 1000)
                await asyncio.sleep(ASK_S)

    figures = await throughput(stage, case, beside=ask)
    if not waits_ms:
        raise RunFailed(f"{case.name}: the status was never answered")
    return replace(figures, p50_ms=quantile(waits_ms, 0.5), p99_ms=quantile(waits_ms, 0.99), worst_ms=max(waits_ms))


async def _arrived(stage: Stage, daemon: Daemon, records: int) -> None:
    arrived, at_s = 0, time.monotonic()
    while (seen := (await stage.sink.seen()).records) < records:
        daemon.check()
        if seen > arrived:
            arrived, at_s = seen, time.monotonic()
        elif time.monotonic() - at_s > STALLED_S:
            raise RunFailed(f"nothing was delivered for {STALLED_S} s, after {arrived} of {records} records")
        await asyncio.sleep(4 * POLL_S)


async def _full(stage: Stage, case: Case) -> Figures:
    topic = await stage.topic_of(case.workload)
    await stage.sink.begin(silent=1)
    daemon = Daemon(stage, topic, case)
    peak_mib, risen_s, first_s = 0.0, time.monotonic(), None
    while time.monotonic() - risen_s < STEADY_S or first_s is None:
        daemon.check()
        if first_s is None and (marks := (await stage.sink.seen()).marks):
            first_s = marks[0].at_s - daemon.started_s
        if daemon.peak_mib() > peak_mib:
            peak_mib, risen_s = daemon.peak_mib(), time.monotonic()
        elif time.monotonic() - risen_s > STALLED_S:
            raise RunFailed(f"{case.name}: nothing was delivered for {STALLED_S} s")
        await asyncio.sleep(POLL_S)
    await daemon.stop()
    return Figures(peak_mib=peak_mib, first_s=first_s)


async def _latency(stage: Stage, case: Case) -> Figures:
    topic = await stage.empty_topic(case.workload)
    daemon = Daemon(stage, topic, case)
    await daemon.ready()
    records, warm_up = int(PACE_PER_S * PACED_S), int(PACE_PER_S * PACED_WARM_UP_S)
    await stage.sink.begin(records=records, warm_up=warm_up, pid=daemon.pid, timed=1, **daemon.calls)
    await _produce_paced(stage, topic, case, records, PACE_PER_S)
    await _arrived(stage, daemon, records)
    peak_mib = daemon.peak_mib()
    await daemon.stop()
    seen = await stage.sink.seen()
    latencies_ms = [latency_s * 1000 for latency_s in seen.latencies_s[warm_up:]]
    first, last = seen.marks[0], seen.marks[-1]
    return Figures(
        records_per_s=(records - 1) / (last.at_s - first.at_s),
        cpu_us=(last.cpu_s - first.cpu_s) / (records - 1) * 1e6,
        peak_mib=peak_mib,
        p50_ms=quantile(latencies_ms, 0.5),
        p99_ms=quantile(latencies_ms, 0.99),
        worst_ms=max(latencies_ms),
        sink_cpu_us=seen.sink_cpu_s / records * 1e6,
    )


async def _produce_paced(stage: Stage, topic: str, case: Case, records: int, per_s: int) -> None:
    """Produce records at this rate, or as fast as the broker allows."""
    keys = case.workload.key_numbers()
    began_s = time.monotonic()
    async with stage.topics.producing(topic) as produce:
        for number in range(records):
            if (early_s := began_s + number / per_s - time.monotonic()) > 0:
                await asyncio.sleep(early_s)
            await produce(timed(next(keys), case.workload.value_bytes))


async def _outage(stage: Stage, case: Case) -> Figures:
    """Break a broker amid deliveries; only this case uses it, because a broker that was killed is slow for some time."""
    with bound_to(stage.cores.others):
        cluster = KafkaCluster()
    async with cluster, Topics(cluster.bootstrap_servers) as topics:
        there = stage.at(cluster.bootstrap_servers, topics)
        topic = await there.empty_topic(case.workload)
        daemon = Daemon(there, topic, case)
        await daemon.ready()
        await there.sink.begin()
        records = int(OUTAGE_PER_S * OUTAGE_PACED_S)
        producing = asyncio.create_task(_produce_paced(there, topic, case, records, OUTAGE_PER_S))
        await _arrived(there, daemon, records // 3)
        if case.frozen_s:
            cluster.freeze_node(1)
            await asyncio.sleep(case.frozen_s)
            cluster.thaw_node(1)
        else:
            cluster.stop_node(1, kill=True)
            await asyncio.to_thread(cluster.start_node, 1)
        back_s = time.monotonic()
        await producing
        await _arrived(there, daemon, records)
        on_again_s = time.monotonic() - back_s
        await daemon.stop()
    return Figures(on_again_s=on_again_s)


async def _tool(stage: Stage, case: Case, module: str) -> Figures:
    await stage.sink.begin()
    workload = case.workload
    extra = (case.batch,) if case.kind is Kind.FLOOR else ()
    measured = await stage.run_tool(
        module, stage.sink.url, workload.records, case.in_flight, workload.value_bytes, *extra
    )
    seen = await stage.sink.seen()
    busy = measured["cpu_us"] * measured["records_per_s"] / 1e6
    return Figures(**measured, busy=busy, sink_cpu_us=seen.sink_cpu_s / max(1, seen.records) * 1e6)
