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
    one_of,
    per_partition,
    per_partition_known,
    per_partition_labelled,
    per_subscription,
    per_subscription_known,
    per_subscription_labelled,
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
        unit="records",
        read=lambda snapshot: list(counted(snapshot.control.ignored, IGNORED)) if snapshot.control.is_on else [],
    ),
)


_S = ("subscription",)
_P = ("subscription", "topic", "partition")

METRICS: Sequence[Metric] = (
    *DAEMON_METRICS,
    Metric(
        name="mps_subscription_state",
        type="gauge",
        help="1 for the state of the subscription at this daemon, the worst state of its partitions; 0 for other states.",
        labels=(*_S, "state"),
        read=per_subscription_labelled(lambda one: one_of(tuple(DeliveryState), one.situation().state)),
    ),
    Metric(
        name="mps_assigned_partitions",
        type="gauge",
        help="Partitions that are assigned to this daemon.",
        labels=_S,
        read=per_subscription(lambda one: len(one.partitions)),
    ),
    Metric(
        name="mps_in_flight_records",
        type="gauge",
        help="Deliveries that have no outcome yet, those of revoked partitions included.",
        labels=_S,
        unit="records",
        read=per_subscription(lambda one: one.in_flight),
    ),
    Metric(
        name="mps_backing_off_lanes",
        type="gauge",
        help="Lanes (keys) that wait for their next attempt.",
        labels=_S,
        read=per_subscription(lambda one: one.backing_off),
    ),
    Metric(
        name="mps_suspect_records",
        type="gauge",
        help="Records in flight when several deliveries were lost at once; they are delivered again in small groups.",
        labels=_S,
        unit="records",
        read=per_subscription(lambda one: one.suspects),
    ),
    Metric(
        name="mps_deliveries_total",
        type="counter",
        help="Ended deliveries, by outcome: `delivered`, or the code of the failure.",
        labels=(*_S, "outcome"),
        read=per_subscription_labelled(lambda one: counted(one.deliveries, OUTCOMES)),
    ),
    Metric(
        name="mps_retries_total",
        type="counter",
        help="Failed deliveries that are tried again and count as an attempt.",
        labels=_S,
        read=per_subscription(lambda one: one.retries),
    ),
    Metric(
        name="mps_withdrawn_deliveries_total",
        type="counter",
        help="Ended deliveries that are made again and count as no attempt.",
        labels=_S,
        read=per_subscription(lambda one: one.withdrawn),
    ),
    Metric(
        name="mps_stale_outcomes_total",
        type="counter",
        help="Outcomes that were ignored, because their partition had moved to another daemon.",
        labels=_S,
        read=per_subscription(lambda one: one.stale_outcomes),
    ),
    Metric(
        name="mps_dead_letters_total",
        type="counter",
        help="Records that every in-sync replica of the dead-letter topic has acknowledged, by disposition.",
        labels=(*_S, "disposition"),
        read=per_subscription_labelled(lambda one: counted(one.dead_letters, Disposition)),
    ),
    Metric(
        name="mps_unresolved_dead_letters",
        type="gauge",
        help="Records in the dead-letter topic that no replay has settled; equal at all daemons, and absent until counted.",
        labels=_S,
        read=per_subscription_known(lambda one: one.unresolved_dead_letters),
    ),
    Metric(
        name="mps_replays",
        type="gauge",
        help="Replays that the daemons remember, by state; equal at all daemons.",
        labels=(*_S, "state"),
        read=per_subscription_labelled(lambda one: counted(one.replays, ReplayState)),
    ),
    Metric(
        name="mps_replayed_records_total",
        type="counter",
        help="Replayed records that this daemon has settled, by result; `failed` records were dead-lettered again.",
        labels=(*_S, "result"),
        unit="records",
        read=per_subscription_labelled(lambda one: counted(one.replayed, ("succeeded", "failed"))),
    ),
    Metric(
        name="mps_dead_letter_failures_total",
        type="counter",
        help="Failed writes to the dead-letter topic. The daemon retries them, and their partition waits meanwhile.",
        labels=_S,
        read=per_subscription(lambda one: one.dead_letter_failures),
    ),
    Metric(
        name="mps_blocked_keys",
        type="gauge",
        help="Blocked keys of all partitions of the group; equal at all daemons.",
        labels=_S,
        read=per_subscription(lambda one: one.blocked_keys),
    ),
    Metric(
        name="mps_breaker_open",
        type="gauge",
        help="1 while deliveries pause because all deliveries to the endpoint fail, else 0.",
        labels=_S,
        read=per_subscription(lambda one: float(one.endpoint.state is not UP)),
    ),
    Metric(
        name="mps_endpoint_failing_since_timestamp_seconds",
        type="gauge",
        help="Time at which the present outage of the endpoint began, in seconds since the epoch; 0 if there is none.",
        labels=_S,
        unit="seconds",
        read=per_subscription(lambda one: one.endpoint.since_ms / 1000),
    ),
    Metric(
        name="mps_endpoint_changed_timestamp_seconds",
        type="gauge",
        help="Time of the last change of the endpoint's state, in seconds since the epoch; 0 if it never changed.",
        labels=_S,
        unit="seconds",
        read=per_subscription(lambda one: one.endpoint.changed_ms / 1000),
    ),
    Metric(
        name="mps_endpoint_outages_total",
        type="counter",
        help="Outages of the endpoint since the daemon started.",
        labels=_S,
        read=per_subscription(lambda one: one.endpoint.outages),
    ),
    Metric(
        name="mps_endpoint_brakes_total",
        type="counter",
        help="Times that dead-lettering stopped because too many records in a row were rejected.",
        labels=_S,
        read=per_subscription(lambda one: one.endpoint.brakes),
    ),
    Metric(
        name="mps_receiver_gap_seconds",
        type="gauge",
        help="Time since an application last asked for records by stream or pull; at most a few seconds while one is connected.",
        labels=_S,
        unit="seconds",
        read=per_subscription_labelled(
            lambda one: [((), one.receiver_gap_s)] if one.receiver_gap_s is not None else []
        ),
    ),
    Metric(
        name="mps_commits_total",
        type="counter",
        help="Commits that the broker accepted.",
        labels=_S,
        read=per_subscription(lambda one: one.commits),
    ),
    Metric(
        name="mps_commit_failures_total",
        type="counter",
        help="Commits that failed. Nothing is lost, because the next commit includes them.",
        labels=_S,
        read=per_subscription(lambda one: one.commit_failures),
    ),
    Metric(
        name="mps_lost_offsets_total",
        type="counter",
        help="Offsets that were skipped because they were no longer in the log; see out_of_range.",
        labels=_S,
        read=per_subscription(lambda one: one.lost_offsets),
    ),
    Metric(
        name="mps_offset_maps_ignored_total",
        type="counter",
        help="Offset maps that were ignored at an assignment, by reason; their records are delivered again.",
        labels=(*_S, "reason"),
        read=per_subscription_labelled(lambda one: counted(one.offset_maps_ignored, Ignored)),
    ),
    Metric(
        name="mps_offset_map_attempts_left_out",
        type="gauge",
        help="Records whose counts of attempts had no room in the last commits; after a restart they start from zero.",
        labels=_S,
        read=per_subscription(lambda one: one.attempts_left_out),
    ),
    Metric(
        name="mps_idempotency_fallbacks_total",
        type="counter",
        help="Records that got their id as idempotency key, because the configured header had no usable key, by reason.",
        labels=(*_S, "reason"),
        read=per_subscription_labelled(lambda one: counted(one.key_fallbacks, Unusable)),
    ),
    Metric(
        name="mps_endpoint_latency_seconds",
        type="histogram",
        help="Time from the start of a delivery to its outcome.",
        labels=_S,
        unit="seconds",
        read=per_subscription(lambda one: one.endpoint_latency),
    ),
    Metric(
        name="mps_end_to_end_latency_seconds",
        type="histogram",
        help="Time from the record's timestamp to its acceptance by the application.",
        labels=_S,
        unit="seconds",
        read=per_subscription(lambda one: one.end_to_end_latency),
    ),
    Metric(
        name="mps_stage_statistic",
        type="gauge",
        help="Internal counters of each stage of the pipeline, for debugging; the names may change between versions.",
        labels=(*_S, "stage", "statistic"),
        read=per_subscription_labelled(stages),
    ),
    Metric(
        name="mps_partition_state",
        type="gauge",
        help="1 for the state of the partition, 0 for other states.",
        labels=(*_P, "state"),
        read=per_partition_labelled(lambda part: one_of(tuple(DeliveryState), part.state)),
    ),
    Metric(
        name="mps_partition_paused_keys",
        type="gauge",
        help="Keys of the partition that an operator paused.",
        labels=_P,
        read=per_partition(lambda part: len(part.paused_keys)),
    ),
    Metric(
        name="mps_partition_lag_records",
        type="gauge",
        help="Records between the committed offset and the end of the log; absent while the end of the log is unknown.",
        labels=_P,
        unit="records",
        read=per_partition_known(lambda part: part.lag_records),
    ),
    Metric(
        name="mps_partition_lag_seconds",
        type="gauge",
        help="Age of the oldest record that is not settled, by its timestamp; 0 if there is none.",
        labels=_P,
        unit="seconds",
        read=per_partition(lambda part: part.lag_s),
    ),
    Metric(
        name="mps_partition_oldest_unfinished_seconds",
        type="gauge",
        help="Time since this daemon read the oldest record that is not settled; 0 if there is none.",
        labels=_P,
        unit="seconds",
        read=per_partition(lambda part: part.oldest_unfinished_age_s),
    ),
    Metric(
        name="mps_partition_pending_records",
        type="gauge",
        help="Records that are read and not settled.",
        labels=_P,
        unit="records",
        read=per_partition(lambda part: part.pending_records),
    ),
    Metric(
        name="mps_partition_pending_bytes",
        type="gauge",
        help="Memory that the pending records take, overhead included.",
        labels=_P,
        unit="bytes",
        read=per_partition(lambda part: part.pending_bytes),
    ),
    Metric(
        name="mps_partition_in_flight_records",
        type="gauge",
        help="Deliveries of the partition that have no outcome yet.",
        labels=_P,
        unit="records",
        read=per_partition(lambda part: part.in_flight),
    ),
    Metric(
        name="mps_partition_next_offset",
        type="gauge",
        help="Offset of the next record to be settled, which the next commit has.",
        labels=_P,
        read=per_partition(lambda part: part.next_offset),
    ),
    Metric(
        name="mps_partition_fetched_to_offset",
        type="gauge",
        help="Offset of the next record to be read.",
        labels=_P,
        read=per_partition(lambda part: part.fetched_to),
    ),
    Metric(
        name="mps_partition_committed_offset",
        type="gauge",
        help="Last committed offset; absent if there is none yet.",
        labels=_P,
        read=per_partition_known(lambda part: part.committed),
    ),
    Metric(
        name="mps_partition_epoch",
        type="gauge",
        help="Generation of the consumer group in which this daemon got the partition.",
        labels=_P,
        read=per_partition(lambda part: part.epoch),
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
