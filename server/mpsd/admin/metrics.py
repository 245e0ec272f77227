"""Every metric in one table: the collector and the reference page are made of it."""

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from typing_extensions import override

from mpsd import __version__
from mpsd.admin.daemon import Daemon
from mpsd.admin.metric import (
    Metric,
    Sample,
    Snapshot,
    counted,
    known,
    one_of,
    per_partition,
    per_partition_by,
    per_subscription,
    per_subscription_by,
    stages,
)
from mpsd.core.breaker import UP
from mpsd.core.control import IGNORED
from mpsd.core.histogram import Histogram
from mpsd.core.idempotency import Unusable
from mpsd.core.offset_map import Ignored
from mpsd.core.outcome import OUTCOMES
from mpsd.core.replay import ReplayState
from mpsd.core.retry import Disposition
from mpsd.core.states import DeliveryState

DAEMON_METRICS: Sequence[Metric] = (
    Metric(
        name="mps_build_info",
        type="gauge",
        help="Always 1; the labels have the versions of mpsd and of Python.",
        labels=("version", "python"),
        read=lambda _: [((__version__, platform.python_version()), 1)],
    ),
    Metric(
        name="mps_config_info",
        type="gauge",
        help="Always 1; the label is a hash of the settings that all daemons of a fleet should share, without secrets.",
        labels=("hash",),
        read=lambda snapshot: [((snapshot.config_hash,), 1)],
    ),
    Metric(
        name="mps_log_lines_suppressed_total",
        type="counter",
        help="Log lines that were not written, because of repeated causes or because the reader of the log was too slow.",
        read=lambda snapshot: [((), snapshot.log_lines_suppressed)],
    ),
    Metric(
        name="mps_reloads_total",
        type="counter",
        help="Changes of files with secrets, tokens or certificates: `renewed` if the daemon uses them, `kept` if they are"
        " invalid and it keeps the old content. `part` is the table in the configuration that names the files.",
        labels=("part", "subscription", "result"),
        read=lambda snapshot: [
            ((each.name, each.subscription, result), count)
            for each in snapshot.watched_files
            for result, count in (("renewed", each.renewals), ("kept", each.failures))
        ],
    ),
    Metric(
        name="mps_reload_broken",
        type="gauge",
        help="1 while files with secrets, tokens or certificates are invalid and the daemon uses their old content, else 0.",
        labels=("part", "subscription"),
        read=lambda snapshot: [
            ((each.name, each.subscription), float(bool(each.broken))) for each in snapshot.watched_files
        ],
    ),
    Metric(
        name="mps_control_topic_followed",
        type="gauge",
        help="1 while the daemon can read the control topic; 0 while it cannot, and keeps the last known control state.",
        read=lambda snapshot: [((), float(not snapshot.control.waiting_for))] if snapshot.control.is_on else [],
    ),
    Metric(
        name="mps_control_revision",
        type="gauge",
        help="Offset of the last control record that was applied; equal at all daemons once they have read it.",
        read=lambda snapshot: [((), snapshot.control.revision)] if snapshot.control.revision >= 0 else [],
    ),
    Metric(
        name="mps_control_ignored_records_total",
        type="counter",
        help="Control records that were ignored, because another program or a later version wrote them, by reason.",
        labels=("reason",),
        read=lambda snapshot: list(counted(snapshot.control.ignored, IGNORED)) if snapshot.control.is_on else [],
    ),
)


METRICS: Sequence[Metric] = (
    *DAEMON_METRICS,
    per_subscription_by(
        ("state",),
        "mps_subscription_state",
        "gauge",
        "1 for the state of the subscription at this daemon, the worst state of its partitions; 0 for other states.",
        lambda one: one_of(tuple(DeliveryState), one.situation().state),
    ),
    per_subscription(
        "mps_assigned_partitions",
        "gauge",
        "Partitions that are assigned to this daemon.",
        lambda one: len(one.partitions),
    ),
    per_subscription(
        "mps_in_flight_records",
        "gauge",
        "Deliveries that have no outcome yet, those of revoked partitions included.",
        lambda one: one.in_flight,
    ),
    per_subscription(
        "mps_backing_off_lanes",
        "gauge",
        "Lanes (keys) that wait for their next attempt.",
        lambda one: one.backing_off,
    ),
    per_subscription(
        "mps_suspect_records",
        "gauge",
        "Records in flight when several deliveries were lost at once; they are delivered again in small groups.",
        lambda one: one.suspects,
    ),
    per_subscription_by(
        ("outcome",),
        "mps_deliveries_total",
        "counter",
        "Ended deliveries, by outcome: `delivered`, or the code of the failure.",
        lambda one: counted(one.deliveries, OUTCOMES),
    ),
    per_subscription(
        "mps_retries_total",
        "counter",
        "Failed deliveries that are tried again and count as an attempt.",
        lambda one: one.retries,
    ),
    per_subscription(
        "mps_withdrawn_deliveries_total",
        "counter",
        "Ended deliveries that are made again and count as no attempt.",
        lambda one: one.withdrawn,
    ),
    per_subscription(
        "mps_stale_outcomes_total",
        "counter",
        "Outcomes that were ignored, because their partition had moved to another daemon.",
        lambda one: one.stale_outcomes,
    ),
    per_subscription_by(
        ("disposition",),
        "mps_dead_letters_total",
        "counter",
        "Records that every in-sync replica of the dead-letter topic has acknowledged, by disposition.",
        lambda one: counted(one.dead_letters, Disposition),
    ),
    per_subscription(
        "mps_unresolved_dead_letters",
        "gauge",
        "Records in the dead-letter topic that no replay has settled; equal at all daemons, and absent until counted.",
        lambda one: known(one.unresolved_dead_letters),
    ),
    per_subscription_by(
        ("state",),
        "mps_replays",
        "gauge",
        "Replays that the daemons remember, by state; equal at all daemons.",
        lambda one: counted(one.replays, ReplayState),
    ),
    per_subscription_by(
        ("result",),
        "mps_replayed_records_total",
        "counter",
        "Replayed records that this daemon has settled, by result; `failed` records were dead-lettered again.",
        lambda one: counted(one.replayed, ("succeeded", "failed")),
    ),
    per_subscription(
        "mps_dead_letter_failures_total",
        "counter",
        "Failed writes to the dead-letter topic. The daemon retries them, and their partition waits meanwhile.",
        lambda one: one.dead_letter_failures,
    ),
    per_subscription(
        "mps_blocked_keys",
        "gauge",
        "Blocked keys of all partitions of the group; equal at all daemons.",
        lambda one: one.blocked_keys,
    ),
    per_subscription(
        "mps_breaker_open",
        "gauge",
        "1 while deliveries pause because all deliveries to the endpoint fail, else 0.",
        lambda one: float(one.endpoint.state is not UP),
    ),
    per_subscription(
        "mps_endpoint_failing_since_timestamp_seconds",
        "gauge",
        "Time at which the present outage of the endpoint began, in seconds since the epoch; 0 if there is none.",
        lambda one: one.endpoint.since_ms / 1000,
    ),
    per_subscription(
        "mps_endpoint_changed_timestamp_seconds",
        "gauge",
        "Time of the last change of the endpoint's state, in seconds since the epoch; 0 if it never changed.",
        lambda one: one.endpoint.changed_ms / 1000,
    ),
    per_subscription(
        "mps_endpoint_outages_total",
        "counter",
        "Outages of the endpoint since the daemon started.",
        lambda one: one.endpoint.outages,
    ),
    per_subscription(
        "mps_endpoint_brakes_total",
        "counter",
        "Times that dead-lettering stopped because too many records in a row were rejected.",
        lambda one: one.endpoint.brakes,
    ),
    per_subscription(
        "mps_receiver_gap_seconds",
        "gauge",
        "Time since an application last asked for records by stream or pull; at most a few seconds while one is connected.",
        lambda one: one.receiver_gap_s,
    ),
    per_subscription(
        "mps_commits_total",
        "counter",
        "Commits that the broker accepted.",
        lambda one: one.commits,
    ),
    per_subscription(
        "mps_commit_failures_total",
        "counter",
        "Commits that failed. Nothing is lost, because the next commit includes them.",
        lambda one: one.commit_failures,
    ),
    per_subscription(
        "mps_lost_offsets_total",
        "counter",
        "Offsets that were skipped because they were no longer in the log; see out_of_range.",
        lambda one: one.lost_offsets,
    ),
    per_subscription_by(
        ("reason",),
        "mps_offset_maps_ignored_total",
        "counter",
        "Offset maps that were ignored at an assignment, by reason; their records are delivered again.",
        lambda one: counted(one.offset_maps_ignored, Ignored),
    ),
    per_subscription(
        "mps_offset_map_attempts_left_out",
        "gauge",
        "Records whose counts of attempts had no room in the last commits; after a restart they start from zero.",
        lambda one: one.attempts_left_out,
    ),
    per_subscription_by(
        ("reason",),
        "mps_idempotency_fallbacks_total",
        "counter",
        "Records that got their id as idempotency key, because the configured header had no usable key, by reason.",
        lambda one: counted(one.key_fallbacks, Unusable),
    ),
    per_subscription(
        "mps_endpoint_latency_seconds",
        "histogram",
        "Time from the start of a delivery to its outcome.",
        lambda one: one.endpoint_latency,
    ),
    per_subscription(
        "mps_end_to_end_latency_seconds",
        "histogram",
        "Time from the record's timestamp to its acceptance by the application.",
        lambda one: one.end_to_end_latency,
    ),
    per_subscription_by(
        ("stage", "statistic"),
        "mps_stage_statistic",
        "gauge",
        "Internal counters of each stage of the pipeline, for debugging; the names may change between versions.",
        stages,
    ),
    per_partition_by(
        ("state",),
        "mps_partition_state",
        "gauge",
        "1 for the state of the partition, 0 for other states.",
        lambda part: one_of(tuple(DeliveryState), part.state),
    ),
    per_partition(
        "mps_partition_paused_keys",
        "gauge",
        "Keys of the partition that an operator paused.",
        lambda part: len(part.paused_keys),
    ),
    per_partition(
        "mps_partition_lag_records",
        "gauge",
        "Records between the committed offset and the end of the log; absent while the end of the log is unknown.",
        lambda part: known(part.lag_records),
    ),
    per_partition(
        "mps_partition_lag_seconds",
        "gauge",
        "Age of the oldest record that is not settled, by its timestamp; 0 if there is none.",
        lambda part: part.lag_s,
    ),
    per_partition(
        "mps_partition_oldest_unfinished_seconds",
        "gauge",
        "Time since this daemon read the oldest record that is not settled; 0 if there is none.",
        lambda part: part.oldest_unfinished_age_s,
    ),
    per_partition(
        "mps_partition_pending_records",
        "gauge",
        "Records that are read and not settled.",
        lambda part: part.pending_records,
    ),
    per_partition(
        "mps_partition_pending_bytes",
        "gauge",
        "Memory that the pending records take, overhead included.",
        lambda part: part.pending_bytes,
    ),
    per_partition(
        "mps_partition_in_flight_records",
        "gauge",
        "Deliveries of the partition that have no outcome yet.",
        lambda part: part.in_flight,
    ),
    per_partition(
        "mps_partition_next_offset",
        "gauge",
        "Offset of the next record to be settled, which the next commit has.",
        lambda part: part.next_offset,
    ),
    per_partition(
        "mps_partition_fetched_to_offset",
        "gauge",
        "Offset of the next record to be read.",
        lambda part: part.fetched_to,
    ),
    per_partition(
        "mps_partition_committed_offset",
        "gauge",
        "Last committed offset; absent if there is none yet.",
        lambda part: known(part.committed),
    ),
    per_partition(
        "mps_partition_epoch",
        "gauge",
        "Generation of the consumer group in which this daemon got the partition.",
        lambda part: part.epoch,
    ),
)


class DaemonCollector(Collector):
    """A Prometheus collector that reads the daemon's statistics once per scrape."""

    def __init__(self, daemon: Daemon, log_lines_suppressed: Callable[[], int]) -> None:
        self._daemon = daemon
        self._log_lines_suppressed = log_lines_suppressed

    @override
    def collect(self) -> Iterator[Family]:
        snapshot = Snapshot(
            subscriptions=self._daemon.statistics(),
            log_lines_suppressed=self._log_lines_suppressed(),
            control=self._daemon.control_statistics(),
            config_hash=self._daemon.config_hash,
            watched_files=self._daemon.watched_files(),
        )
        for metric in METRICS:
            yield _family(metric, metric.read(snapshot))


def registry(daemon: Daemon, log_lines_suppressed: Callable[[], int]) -> CollectorRegistry:
    """Return a new registry with the daemon's metrics and the usual metrics of the process."""
    metrics = CollectorRegistry()
    metrics.register(DaemonCollector(daemon, log_lines_suppressed))
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
