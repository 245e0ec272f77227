"""What the pull adapter is told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSettings:
    """Ranges, defaults and reasons are the configuration's.

    Attributes:
        address: where others reach this daemon's HTTP listener, `host:port`; empty where nobody can.
    """

    subscription: str
    address: str = ""
    concurrency_max: int = 10_000
    lease_s: float = 30.0
    lease_total_max_s: float = 3_600.0
    records_max: int = 1_000
    bytes_max: int = 8_388_608
    wait_max_s: float = 30.0
    waiters_max: int = 1_000
