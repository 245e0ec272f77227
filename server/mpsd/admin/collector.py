"""Metrics as Prometheus reads them, made of a snapshot when it asks."""

import platform
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from typing_extensions import override

from mpsd.admin.daemon import Daemon
from mpsd.admin.metric import Metric, Sample, Snapshot
from mpsd.admin.metrics import METRICS
from mpsd.core.histogram import Histogram


class DaemonCollector(Collector):
    """Reads the daemon's statistics once per scrape."""

    def __init__(self, daemon: Daemon, version: str, log_lines_suppressed: Callable[[], int]) -> None:
        self._daemon = daemon
        self._version = version
        self._log_lines_suppressed = log_lines_suppressed

    @override
    def collect(self) -> Iterator[Family]:
        snapshot = Snapshot(
            subscriptions=self._daemon.statistics(),
            version=self._version,
            python=platform.python_version(),
            log_lines_suppressed=self._log_lines_suppressed(),
            control=self._daemon.control_statistics(),
            config_hash=self._daemon.config_hash,
            watched_files=self._daemon.watched_files(),
        )
        for metric in METRICS:
            yield _family(metric, metric.read(snapshot))


def registry(daemon: Daemon, version: str, log_lines_suppressed: Callable[[], int]) -> CollectorRegistry:
    """A registry of its own, with the daemon's metrics and the usual ones of the process."""
    metrics = CollectorRegistry()
    metrics.register(DaemonCollector(daemon, version, log_lines_suppressed))
    ProcessCollector(registry=metrics)
    GCCollector(registry=metrics)
    return metrics


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    if metric.type == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels, unit=metric.unit)
        for labels, value in samples:
            assert isinstance(value, Histogram)
            histogram.add_metric(labels, _buckets(value), value.total)
        return histogram
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels, unit=metric.unit)
    for labels, value in samples:
        assert not isinstance(value, Histogram)
        family.add_metric(labels, value)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))
