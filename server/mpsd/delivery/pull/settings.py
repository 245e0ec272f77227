"""What the pull adapter is told."""

from dataclasses import dataclass

from mpsd.core.content_type import AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSettings:
    """Ranges, defaults and reasons are the configuration's.

    Attributes:
        content_type: `auto` for each record's own, or the media type of every record.
        idempotency_header: record header that the idempotency key is taken from; empty: it is the record's id.
        address: where others reach this daemon's HTTP listener, `host:port`; empty where nobody can.
        instance: the id of this process, which its leases bear.
        network: of the network stack that loopback addresses belong to.
    """

    subscription: str
    address: str = ""
    content_type: str = AUTO
    instance: str = "here"
    network: str = ""
    concurrency_max: int = 10_000
    lease_s: float = 30.0
    lease_total_max_s: float = 3_600.0
    records_max: int = 1_000
    bytes_max: int = 8_388_608
    wait_max_s: float = 30.0
    waiters_max: int = 1_000
    idempotency_header: str = ""
