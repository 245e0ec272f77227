"""The figures of one run, and the medians of several."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Measured figures; None where a case does not measure one.

    Attributes:
        records_per_s: from the first delivery to the last.
        cpu_us: CPU time of the measured process per record, over the same time.
        steady_cpu_us: the same without the first tenth of the records, during which the daemon still opens its listeners.
        busy: CPU time of the measured process by the time it took, 1.0 at most on one core: what is missing it waited, for Kafka,
            for the sink, or for the machine.
        peak_mib: resident memory at its highest.
        first_s: from the start of the process to the first delivery.
        p50_ms: latency from the producer's call to the sink; p99_ms and worst_ms alike.
        on_again_s: from the return of the broker until every record was delivered, also those that its producer kept.
        sink_cpu_us: CPU time of the sink per record.
        growth: `cpu_us` relative to the case that it is compared with.
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
    """Each figure by itself."""
    values = {name: [value for run in runs if (value := getattr(run, name)) is not None] for name in FIGURES}
    return Figures(**{name: statistics.median(found) for name, found in values.items() if found})


def quantile(values: Sequence[float], q: float) -> float:
    """Return the least value that the part `q` of the values does not exceed; `values` is not empty."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
