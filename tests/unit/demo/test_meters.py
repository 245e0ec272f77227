"""Metrics of the daemon that the demo shows."""

from mpsd.admin.metrics import METRICS
from mpsd.demo.run import Meters, read_meters

EXPOSITION = """\
# HELP mps_deliveries_total Ended deliveries by outcome.
# TYPE mps_deliveries_total counter
mps_deliveries_total{subscription="orders",outcome="delivered"} 1200.0
mps_deliveries_total{subscription="orders",outcome="status_500"} 7.0
# TYPE mps_retries_total counter
mps_retries_total{subscription="orders"} 7.0
# TYPE mps_dead_letters_total counter
mps_dead_letters_total{subscription="orders",disposition="rejected"} 3.0
mps_dead_letters_total{subscription="orders",disposition="expired"} 1.0
# TYPE mps_in_flight_records gauge
mps_in_flight_records{subscription="orders"} 64.0
# TYPE mps_breaker_open gauge
mps_breaker_open{subscription="orders"} 1.0
"""


def test_meters_are_read_from_metrics() -> None:
    assert read_meters(EXPOSITION) == Meters(1200, 7, 4, 64, breaker_open=True)


def test_a_daemon_that_says_nothing_has_done_nothing() -> None:
    assert read_meters("") == Meters()


def test_the_metrics_exist() -> None:
    names = {line.split("{")[0] for line in EXPOSITION.splitlines() if not line.startswith("#")}
    assert names <= {metric.name for metric in METRICS}
