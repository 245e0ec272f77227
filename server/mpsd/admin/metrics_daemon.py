"""Metrics of the daemon as a whole; those of the control topic are absent without one."""

from collections.abc import Sequence

from mpsd.admin.metric import Metric, counted
from mpsd.core.control import IGNORED

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
