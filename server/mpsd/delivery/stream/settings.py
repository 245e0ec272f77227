"""What the stream adapter is told; ranges, defaults and reasons are the configuration's."""

from dataclasses import dataclass

from mpsd.core.content_type import AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """Settings of one subscription's streams.

    Attributes:
        content_type: `auto` for each record's own, or the media type of every record.
        concurrency_max: records at applications at a time, over all streams.
        lease_s: how long a record may be held before it is settled or extended.
        lease_total_max_s: how long it may be held with all extensions.
        keep_alive_s: the longest silence on a stream.
        frame_bytes_max: records in one frame; a larger record goes alone.
        network: of the network stack that loopback addresses belong to.
        idempotency_header: record header that the idempotency key is taken from; empty: it is the record's id.
    """

    subscription: str
    content_type: str = AUTO
    concurrency_max: int = 10_000
    lease_s: float = 30.0
    lease_total_max_s: float = 3_600.0
    keep_alive_s: float = 10.0
    frame_bytes_max: int = 1_048_576
    network: str = ""
    idempotency_header: str = ""

    @property
    def sweep_s(self) -> float:
        """How often leases and silence are looked at: none is exceeded by much, and it is never a busy loop."""
        return min(max(min(self.lease_s, self.keep_alive_s) / 20, 0.005), 0.5)
