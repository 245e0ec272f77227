"""Times and spans on the wire."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mpsd.ports import Clock

MS_MAX = 253_402_300_799_999
"""The end of the year 9999, which is the end of a Timestamp's range."""


def wall_ms(clock: Clock) -> int:
    """Return the time of day in milliseconds since the epoch."""
    return int(clock.wall_s() * 1000)


def timestamp(at_ms: int) -> Timestamp:
    """Milliseconds since the epoch; what lies beyond the range is its end."""
    at_ms = min(max(at_ms, 0), MS_MAX)
    return Timestamp(seconds=at_ms // 1000, nanos=at_ms % 1000 * 1_000_000)


def duration(span_s: float) -> Duration:
    """Seconds, 0 or more."""
    nanos = round(span_s * 1e9)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def milliseconds(at: Timestamp) -> int:
    """Since the epoch."""
    return int(at.seconds) * 1000 + int(at.nanos) // 1_000_000


def seconds(span: Duration) -> float:
    return float(span.seconds + span.nanos / 1e9)
