"""Metrics of the control topic; they are absent without one."""

from collections.abc import Sequence

from mpsd.admin.metric import Metric

CONTROL_METRICS: Sequence[Metric] = (
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
        read=lambda snapshot: [((reason,), count) for reason, count in snapshot.control.ignored.items()],
    ),
)
