"""Figures of the running daemon, read from its metrics."""

from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families


class Meters(NamedTuple):
    """Counts since the daemon began, and what is in flight now."""

    delivered: int = 0
    retried: int = 0
    dead_lettered: int = 0
    in_flight: int = 0
    breaker_open: bool = False


def read_meters(exposition: str) -> Meters:
    """Return the meters of a daemon with one subscription; a missing metric counts as 0.

    Args:
        exposition: its metrics in Prometheus' text format.
    """
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            name = "delivered" if sample.labels.get("outcome") == "delivered" else sample.name
            sums[name] = sums.get(name, 0.0) + sample.value
    return Meters(
        delivered=int(sums.get("delivered", 0)),
        retried=int(sums.get("mps_retries_total", 0)),
        dead_lettered=int(sums.get("mps_dead_letters_total", 0)),
        in_flight=int(sums.get("mps_in_flight_records", 0)),
        breaker_open=sums.get("mps_breaker_open", 0) > 0,
    )
