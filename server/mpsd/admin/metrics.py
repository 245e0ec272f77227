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

from mpsd.admin.daemon import Daemon
from mpsd.admin.metric import (
    Metric,
    Sample,
    Snapshot,
    counted,
    key_fallbacks,
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
from mpsd.core.offset_map import Ignored
from mpsd.core.outcome import OUTCOMES
from mpsd.core.replay import ReplayState
from mpsd.core.retry import Disposition
from mpsd.core.states import DeliveryState

DAEMON_METRICS: Sequence[Metric] = (
    Metric(
        name="mps_build_info",
        type="gauge",
        help="Always 1; the labels say which version runs, and on which Python.",
        labels=("version", "python"),
        read=lambda snapshot: [((snapshot.version, snapshot.python), 1)],
    ),
    Metric(
        name="mps_config_info",
        type="gauge",
        help="Always 1; the hash is of the settings that all daemons should share, without secrets: one hash in a fleet.",
        labels=("hash",),
        read=lambda snapshot: [((snapshot.config_hash,), 1)],
    ),
    Metric(
        name="mps_log_lines_suppressed_total",
        type="counter",
        help="Log lines left out because their cause had been named often enough, or because nobody read them.",
        read=lambda snapshot: [((), snapshot.log_lines_suppressed)],
    ),
    Metric(
        name="mps_reloads_total",
        type="counter",
        help="Looks that found secrets, tokens or certificates changed: `renewed`, and in use since; or `kept`, as the files"
        " were broken. `part` is their table in the configuration.",
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
        help="1 while files with secrets, tokens or certificates cannot be used as they are; what was read before stays in use.",
        labels=("part", "subscription"),
        read=lambda snapshot: [
            ((each.name, each.subscription), float(bool(each.broken))) for each in snapshot.watched_files
        ],
    ),
    Metric(
        name="mps_control_topic_followed",
        type="gauge",
        help="1 while the control topic is read as it grows; 0 while it cannot be, and what was known of it holds on.",
        read=lambda snapshot: [((), float(not snapshot.control.waiting_for))] if snapshot.control.is_on else [],
    ),
    Metric(
        name="mps_control_revision",
        type="gauge",
        help="Offset of the last control record that was applied: the same at every instance once all have read it.",
        read=lambda snapshot: [((), snapshot.control.revision)] if snapshot.control.revision >= 0 else [],
    ),
    Metric(
        name="mps_control_ignored_records_total",
        type="counter",
        help="Control records passed over, as they are of another program or of a later version.",
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
        help="1 for the state that the subscription is in at this instance, the worst of its partitions', 0 for the others.",
        labels=(*_S, "state"),
        read=per_subscription_labelled(lambda one: one_of(tuple(DeliveryState), one.situation().state)),
    ),
    Metric(
        name="mps_assigned_partitions",
        type="gauge",
        help="Partitions that this instance has now.",
        labels=_S,
        read=per_subscription(lambda one: len(one.partitions)),
    ),
    Metric(
        name="mps_in_flight_records",
        type="gauge",
        help="Deliveries that were started and have no outcome yet, those of partitions that are leaving included.",
        labels=_S,
        unit="records",
        read=per_subscription(lambda one: one.in_flight),
    ),
    Metric(
        name="mps_backing_off_lanes",
        type="gauge",
        help="Lanes that wait for their next attempt; they hold no slot.",
        labels=_S,
        read=per_subscription(lambda one: one.backing_off),
    ),
    Metric(
        name="mps_suspect_records",
        type="gauge",
        help="Records lost together with others, which are to be delivered again in groups that begin with one.",
        labels=_S,
        unit="records",
        read=per_subscription(lambda one: one.suspects),
    ),
    Metric(
        name="mps_deliveries_total",
        type="counter",
        help="Ended deliveries by outcome: delivered, or the code of what went wrong.",
        labels=(*_S, "outcome"),
        read=per_subscription_labelled(lambda one: counted(one.deliveries, OUTCOMES)),
    ),
    Metric(
        name="mps_retries_total",
        type="counter",
        help="Deliveries to be made again at the cost of an attempt.",
        labels=_S,
        read=per_subscription(lambda one: one.retries),
    ),
    Metric(
        name="mps_withdrawn_deliveries_total",
        type="counter",
        help="Deliveries to be made again at no cost.",
        labels=_S,
        read=per_subscription(lambda one: one.withdrawn),
    ),
    Metric(
        name="mps_stale_outcomes_total",
        type="counter",
        help="Outcomes that came after their partition had moved on, and were dropped.",
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
        help="Records in the dead-letter topic that no replay has settled: the same at every instance; absent until counted.",
        labels=_S,
        read=per_subscription_known(lambda one: one.unresolved_dead_letters),
    ),
    Metric(
        name="mps_replays",
        type="gauge",
        help="Replays of dead letters that are remembered, by state: the same at every instance.",
        labels=(*_S, "state"),
        read=per_subscription_labelled(lambda one: counted(one.replays, ReplayState)),
    ),
    Metric(
        name="mps_replayed_records_total",
        type="counter",
        help="Dead letters that replays of this instance have settled, by result; `failed` is dead again.",
        labels=(*_S, "result"),
        unit="records",
        read=per_subscription_labelled(lambda one: counted(one.replayed, ("succeeded", "failed"))),
    ),
    Metric(
        name="mps_dead_letter_failures_total",
        type="counter",
        help="Writes to the dead-letter topic that failed and are tried again; their partition waits meanwhile.",
        labels=_S,
        read=per_subscription(lambda one: one.dead_letter_failures),
    ),
    Metric(
        name="mps_blocked_keys",
        type="gauge",
        help="Keys blocked behind dead letters, of all partitions of the group: the same value at every instance.",
        labels=_S,
        read=per_subscription(lambda one: one.blocked_keys),
    ),
    Metric(
        name="mps_breaker_open",
        type="gauge",
        help="1 while deliveries pause because nothing succeeds at the endpoint, else 0.",
        labels=_S,
        read=per_subscription(lambda one: float(one.endpoint.state is not UP)),
    ),
    Metric(
        name="mps_endpoint_failing_since_timestamp_seconds",
        type="gauge",
        help="When deliveries that pause now began to fail, in seconds since the epoch; 0 while the endpoint is up.",
        labels=_S,
        unit="seconds",
        read=per_subscription(lambda one: one.endpoint.since_ms / 1000),
    ),
    Metric(
        name="mps_endpoint_changed_timestamp_seconds",
        type="gauge",
        help="When the endpoint's state last changed, in seconds since the epoch; 0 if it never did.",
        labels=_S,
        unit="seconds",
        read=per_subscription(lambda one: one.endpoint.changed_ms / 1000),
    ),
    Metric(
        name="mps_endpoint_outages_total",
        type="counter",
        help="How often the endpoint was out.",
        labels=_S,
        read=per_subscription(lambda one: one.endpoint.outages),
    ),
    Metric(
        name="mps_endpoint_brakes_total",
        type="counter",
        help="How often dead-lettering stopped because too many records in a row were rejected.",
        labels=_S,
        read=per_subscription(lambda one: one.endpoint.brakes),
    ),
    Metric(
        name="mps_receiver_gap_seconds",
        type="gauge",
        help="Since an application last came for records by stream or pull; up to a few seconds while one does.",
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
        help="Commits that failed; nothing is lost, the next one says it again.",
        labels=_S,
        read=per_subscription(lambda one: one.commit_failures),
    ),
    Metric(
        name="mps_lost_offsets_total",
        type="counter",
        help="Offsets passed over because the log no longer had them; see out_of_range.",
        labels=_S,
        read=per_subscription(lambda one: float(one.stages.get("source", {}).get("lost_offsets", 0))),
    ),
    Metric(
        name="mps_offset_maps_ignored_total",
        type="counter",
        help="Offset maps of assigned partitions that were not used, by reason; their records are delivered again.",
        labels=(*_S, "reason"),
        read=per_subscription_labelled(lambda one: counted(one.offset_maps_ignored, Ignored)),
    ),
    Metric(
        name="mps_offset_map_attempts_left_out",
        type="gauge",
        help="Records whose spent attempts had no room in the last commits; after a restart they start from zero.",
        labels=_S,
        read=per_subscription(lambda one: one.attempts_left_out),
    ),
    Metric(
        name="mps_idempotency_fallbacks_total",
        type="counter",
        help="Records without a usable key in the header that delivery.idempotency_key names, by reason; their id is used.",
        labels=(*_S, "reason"),
        read=per_subscription_labelled(key_fallbacks),
    ),
    Metric(
        name="mps_endpoint_latency_seconds",
        type="histogram",
        help="From the start of a delivery to its outcome.",
        labels=_S,
        unit="seconds",
        read=per_subscription(lambda one: one.endpoint_latency),
    ),
    Metric(
        name="mps_end_to_end_latency_seconds",
        type="histogram",
        help="From the record's timestamp to its acceptance by the application.",
        labels=_S,
        unit="seconds",
        read=per_subscription(lambda one: one.end_to_end_latency),
    ),
    Metric(
        name="mps_stage_statistic",
        type="gauge",
        help="What each stage of the pipeline says of itself; for the eye, names may change between versions.",
        labels=(*_S, "stage", "statistic"),
        read=per_subscription_labelled(stages),
    ),
    Metric(
        name="mps_partition_state",
        type="gauge",
        help="1 for the state that the partition is in, 0 for the others.",
        labels=(*_P, "state"),
        read=per_partition_labelled(lambda part: one_of(tuple(DeliveryState), part.state)),
    ),
    Metric(
        name="mps_partition_paused_keys",
        type="gauge",
        help="Keys of the partition of which an operator stopped deliveries.",
        labels=_P,
        read=per_partition(lambda part: len(part.paused_keys)),
    ),
    Metric(
        name="mps_partition_lag_records",
        type="gauge",
        help="Log end less the offset to be committed; absent while the log end is unknown.",
        labels=_P,
        unit="records",
        read=per_partition_known(lambda part: part.lag_records),
    ),
    Metric(
        name="mps_partition_lag_seconds",
        type="gauge",
        help="Age of the oldest record that is not finished, by its timestamp; 0 if there is none.",
        labels=_P,
        unit="seconds",
        read=per_partition(lambda part: part.lag_s),
    ),
    Metric(
        name="mps_partition_oldest_unfinished_seconds",
        type="gauge",
        help="How long the oldest unfinished record has been with this instance.",
        labels=_P,
        unit="seconds",
        read=per_partition(lambda part: part.oldest_unfinished_age_s),
    ),
    Metric(
        name="mps_partition_pending_records",
        type="gauge",
        help="Records read and not yet settled.",
        labels=_P,
        unit="records",
        read=per_partition(lambda part: part.pending_records),
    ),
    Metric(
        name="mps_partition_pending_bytes",
        type="gauge",
        help="What they hold, overhead included.",
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
        help="The offset that would be committed now.",
        labels=_P,
        read=per_partition(lambda part: part.next_offset),
    ),
    Metric(
        name="mps_partition_fetched_to_offset",
        type="gauge",
        help="The offset that is read next.",
        labels=_P,
        read=per_partition(lambda part: part.fetched_to),
    ),
    Metric(
        name="mps_partition_committed_offset",
        type="gauge",
        help="The offset last committed; absent if there is none yet.",
        labels=_P,
        read=per_partition_known(lambda part: part.committed),
    ),
    Metric(
        name="mps_partition_epoch",
        type="gauge",
        help="Generation of the group in which this instance acquired the partition.",
        labels=_P,
        read=per_partition(lambda part: part.epoch),
    ),
)


class DaemonCollector(Collector):
    """A Prometheus collector that reads the daemon's statistics once per scrape."""

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
    """Return a new registry with the daemon's metrics and the usual metrics of the process."""
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
