"""Metrics as Prometheus reads them, judged as its own linter would."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from docs.metrics import STANDARD_METRICS
from mpsd import __version__
from mpsd.admin.daemon import ControlStatistics, WatchedFiles
from mpsd.admin.metric import LABEL_VALUES_MAX, Metric
from mpsd.admin.metrics import METRICS, registry
from mpsd.core.breaker import EndpointState
from mpsd.core.histogram import Histogram
from mpsd.core.outcome import OUTCOMES
from mpsd.core.retry import Disposition
from mpsd.core.states import DeliveryState, Situation
from mpsd.pipeline.endpoint import EndpointStatistics
from mpsd.pipeline.statistics import PartitionStatistics, SubscriptionStatistics
from tests.fakes.daemon import QuietDaemon

ROOT = Path(__file__).parents[3]

PARTITION = PartitionStatistics(
    topic="orders", partition=3, epoch=7, state=DeliveryState.RUNNING, lag_records=12, lag_s=1.5, pending_records=10,
    pending_bytes=7000, in_flight=4, oldest_unfinished_age_s=0.25, next_offset=100, fetched_to=112, committed=99,
    blocked_keys=2,
)  # fmt: skip


CONTROL = ControlStatistics(
    is_on=True, waiting_for="Kafka is down", revision=41, ignored={"other-version": 2, "unreadable-key": 1}
)


ENDPOINT = EndpointStatistics(
    state=EndpointState.OUT, since_ms=1_700_000_000_000, outages=31, brakes=32, changed_ms=1_700_000_000_500
)


def subscription() -> SubscriptionStatistics:
    latency = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        latency.observe(seconds)
    return SubscriptionStatistics(
        name="billing", state=DeliveryState.RUNNING, reason="", partitions=[PARTITION], in_flight=4, backing_off=2, suspects=1,
        deliveries={"delivered": 1000, "timeout": 3}, retries=3, withdrawn=5, stale_outcomes=6,
        dead_letters={"rejected": 8}, dead_letter_failures=9, endpoint=ENDPOINT, commits=11, commit_failures=13,
        offset_maps_ignored={"foreign": 2}, attempts_left_out=14,
        endpoint_latency=latency, end_to_end_latency=Histogram(), stages={"reader": {"fetches": 17}},
        lost_offsets=15, key_fallbacks={"empty": 16},
        blocked_keys=21, unresolved_dead_letters=31, replays={"running": 1}, replayed={"succeeded": 32},
    )  # fmt: skip


def daemon(*subscriptions: SubscriptionStatistics) -> QuietDaemon:
    watched = [WatchedFiles("kafka.security", "", ["ca.pem"], "", 0, 0)]
    return QuietDaemon(subscriptions, watched=watched, control=CONTROL)


def scrape(*subscriptions: SubscriptionStatistics) -> list[Family]:
    encode, _ = choose_encoder("")
    text = encode(registry(daemon(*subscriptions), lambda: 42)).decode()
    return list(text_string_to_metric_families(text))


def value(families: Iterable[Family], name: str, **labels: str) -> float | None:
    found = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) < 2
    return found[0] if found else None


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("mps_deliveries_total", {"outcome": "delivered"}, 1000),
        ("mps_deliveries_total", {"outcome": "timeout"}, 3),
        ("mps_retries_total", {}, 3),
        ("mps_withdrawn_deliveries_total", {}, 5),
        ("mps_stale_outcomes_total", {}, 6),
        ("mps_dead_letters_total", {"disposition": "rejected"}, 8),
        ("mps_dead_letters_total", {"disposition": "expired"}, 0),
        ("mps_unresolved_dead_letters", {}, 31),
        ("mps_replays", {"state": "running"}, 1),
        ("mps_replays", {"state": "failed"}, 0),
        ("mps_replayed_records_total", {"result": "succeeded"}, 32),
        ("mps_replayed_records_total", {"result": "failed"}, 0),
        ("mps_dead_letter_failures_total", {}, 9),
        ("mps_breaker_open", {}, 1),
        ("mps_blocked_keys", {}, 21),
        ("mps_commits_total", {}, 11),
        ("mps_commit_failures_total", {}, 13),
        ("mps_offset_maps_ignored_total", {"reason": "foreign"}, 2),
        ("mps_offset_map_attempts_left_out", {}, 14),
        ("mps_in_flight_records", {}, 4),
        ("mps_backing_off_lanes", {}, 2),
        ("mps_suspect_records", {}, 1),
        ("mps_assigned_partitions", {}, 1),
        ("mps_subscription_state", {"state": "running"}, 1),
        ("mps_subscription_state", {"state": "waiting"}, 0),
        ("mps_lost_offsets_total", {}, 15),
        ("mps_idempotency_fallbacks_total", {"reason": "empty"}, 16),
        ("mps_idempotency_fallbacks_total", {"reason": "absent"}, 0),
        ("mps_stage_statistic", {"stage": "reader", "statistic": "fetches"}, 17),
        ("mps_partition_state", {"state": "running"}, 1),
        ("mps_partition_state", {"state": "draining"}, 0),
        ("mps_partition_lag_records", {}, 12),
        ("mps_partition_lag_seconds", {}, 1.5),
        ("mps_partition_oldest_unfinished_seconds", {}, 0.25),
        ("mps_partition_pending_records", {}, 10),
        ("mps_partition_pending_bytes", {}, 7000),
        ("mps_partition_in_flight_records", {}, 4),
        ("mps_partition_next_offset", {}, 100),
        ("mps_partition_fetched_to_offset", {}, 112),
        ("mps_partition_committed_offset", {}, 99),
        ("mps_partition_epoch", {}, 7),
    ],
)
def test_each_statistic_has_its_metric(name: str, labels: dict[str, str], expected: float) -> None:
    where = {"subscription": "billing"} | ({"topic": "orders", "partition": "3"} if "_partition_" in name else {})
    assert value(scrape(subscription()), name, **where, **labels) == expected


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("mps_control_topic_followed", {}, 0),
        ("mps_control_revision", {}, 41),
        ("mps_control_ignored_records_total", {"reason": "other-version"}, 2),
        ("mps_control_ignored_records_total", {"reason": "unreadable-key"}, 1),
    ],
)
def test_the_control_topic_has_its_metrics(name: str, labels: dict[str, str], expected: float) -> None:
    assert value(scrape(), name, **labels) == expected


def test_histograms_are_cumulative() -> None:
    families = scrape(subscription())
    buckets = [value(families, "mps_endpoint_latency_seconds_bucket", le=le) for le in ("0.1", "1.0", "+Inf")]
    assert buckets == [2, 3, 4]
    assert value(families, "mps_endpoint_latency_seconds_count") == 4
    assert value(families, "mps_endpoint_latency_seconds_sum") == pytest.approx(7.65)


def test_the_daemon_says_its_version_and_what_it_left_out_of_the_log() -> None:
    families = scrape()
    assert value(families, "mps_build_info", version=__version__) == 1
    assert value(families, "mps_config_info", hash="a1b2c3") == 1
    assert value(families, "mps_log_lines_suppressed_total") == 42


def test_every_counter_has_a_series_for_each_label_before_the_first_event() -> None:
    """`increase()` sees nothing of a series that begins at 1: the first burst would be missed."""
    fresh = replace(subscription(), deliveries={}, dead_letters={}, offset_maps_ignored={}, replays={}, replayed={})
    families = {family.name: family for family in scrape(fresh)}
    counters = [metric for metric in METRICS if metric.type == "counter"]
    for metric in counters:
        samples = families[metric.name.removesuffix("_total")].samples
        assert samples, f"{metric.name} has no series until something happens"
    labels = {
        label: {s.labels[label] for s in families[name].samples}
        for name, label in (("mps_dead_letters", "disposition"), ("mps_deliveries", "outcome"))
    }
    assert labels["disposition"] == {each.value for each in Disposition}
    assert labels["outcome"] == set(OUTCOMES)


def test_every_code_of_an_outcome_is_counted_from_the_start() -> None:
    sources = [each for each in (ROOT / "server/mpsd").rglob("*.py") if "demo" not in each.parts]
    outcomes = re.compile(r"(?:Retryable|Rejected|Unavailable|Undeliverable)\(\s*(?:code=)?\"([a-z_]+)\"")
    codes = {code for source in sources for code in outcomes.findall(source.read_text())}
    assert {"timeout", "refused", "verdict_retry"} <= codes
    assert codes <= set(OUTCOMES)


def test_what_is_unknown_is_absent() -> None:
    assert value(scrape(replace(subscription(), unresolved_dead_letters=-1)), "mps_unresolved_dead_letters") is None
    unknown = replace(PARTITION, lag_records=-1, committed=-1)
    families = scrape(replace(subscription(), partitions=[unknown]))
    assert value(families, "mps_partition_lag_records") is None
    assert value(families, "mps_partition_committed_offset") is None


def test_codes_beyond_the_bound_are_counted_together() -> None:
    codes = {f"status_{status}": 1 for status in range(LABEL_VALUES_MAX + 5)}
    families = scrape(replace(subscription(), deliveries=codes))
    samples = [sample for family in families for sample in family.samples if sample.name == "mps_deliveries_total"]
    assert len(samples) == LABEL_VALUES_MAX + 1
    assert value(families, "mps_deliveries_total", outcome="other") == 5 + len(OUTCOMES)


def test_a_subscription_is_in_the_worst_state_that_holds_for_any_part_of_it() -> None:
    dlq = replace(PARTITION, partition=4, state=DeliveryState.DLQ_BLOCKED)
    partly = replace(subscription(), partitions=[PARTITION, dlq])
    assert value(scrape(partly), "mps_subscription_state", state="dlq-blocked") == 1
    assert value(scrape(partly), "mps_subscription_state", state="running") == 0
    out = replace(subscription(), delivery=Situation(DeliveryState.ENDPOINT_OUT, "refused"))
    assert value(scrape(out), "mps_subscription_state", state="endpoint-out") == 1


def test_every_state_has_a_series_from_the_start() -> None:
    for state in DeliveryState:
        assert value(scrape(subscription()), "mps_subscription_state", state=state.value) in {0, 1}


def test_everything_shown_is_in_the_table_and_the_other_way_round() -> None:
    shown = {f"{family.name}_total" if family.type == "counter" else family.name for family in scrape(subscription())}
    documented = {metric.name for metric in METRICS} | set(STANDARD_METRICS)
    assert shown <= documented
    assert {metric.name for metric in METRICS} <= shown


def test_families_are_announced_before_there_is_a_subscription() -> None:
    assert {metric.name.removesuffix("_total") for metric in METRICS} <= {family.name for family in scrape()}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_conventions(metric: Metric) -> None:
    assert metric.name.startswith("mps_")
    assert metric.help.endswith(".")
    assert (metric.type == "counter") == metric.name.endswith("_total")
    words = metric.name.removesuffix("_total").split("_")
    assert words[-1] == metric.unit or words[-1] not in {"seconds", "bytes", "records"}
    assert not {"milliseconds", "ms", "kilobytes", "count", "key"} & set(words)
    assert not {"key", "offset", "le"} & set(metric.labels)
    assert len(set(metric.labels)) == len(metric.labels)


def test_openmetrics_is_strict_and_content() -> None:
    encode, _ = choose_encoder("application/openmetrics-text; version=1.0.0")
    text = encode(registry(daemon(subscription()), lambda: 0)).decode()
    assert list(openmetrics_families(text))  # type: ignore[no-untyped-call]
