"""The figures of one run, and the medians of several."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Measured figures; None: not measured in this case.

    Attributes:
        records_per_s: records per second, from the first to the last delivery.
        cpu_us: CPU time of the measured process per record in µs, from the first to the last delivery.
        steady_cpu_us: like `cpu_us`, without the first tenth of the records, in which the daemon opens its listeners.
        busy: CPU time of the measured process per second, at most 1.0 on one core. In the rest of the time it waited for
            Kafka, the sink or the machine.
        peak_mib: largest resident memory in MiB.
        first_s: time in s from the start of the process to the first delivery.
        p50_ms: median latency in ms from the producer's call to the sink.
        p99_ms: 99th percentile of the latency in ms.
        worst_ms: largest latency in ms.
        on_again_s: time in s from the return of the broker until all records were delivered.
        sink_cpu_us: CPU time of the sink per record in µs.
        growth: `steady_cpu_us` relative to the case with which it is compared.
    """

    records_per_s: float | None = None
    cpu_us: float | None = None
    steady_cpu_us: float | None = None
    busy: float | None = None
    peak_mib: float | None = None
    first_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    worst_ms: float | None = None
    on_again_s: float | None = None
    sink_cpu_us: float | None = None
    growth: float | None = None


FIGURES = [field.name for field in fields(Figures)]


def medians(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    values = {name: [value for run in runs if (value := getattr(run, name)) is not None] for name in FIGURES}
    return Figures(**{name: statistics.median(found) for name, found in values.items() if found})


def quantile(values: Sequence[float], q: float) -> float:
    """Return the least value that a part `q` of the values does not exceed; `values` must not be empty."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
