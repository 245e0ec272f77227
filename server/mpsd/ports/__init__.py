"""The edges of the pipeline and of the control plane: every port that another package implements.

Importers take all names from here. One port is elsewhere: `mpsd.admin.daemon`, because it hands out pipelines.
"""

from mpsd.ports.adapter import AdapterStatistics, DeliveryAdapter, Demand
from mpsd.ports.clock import SYSTEM_CLOCK, Clock
from mpsd.ports.control import (
    AuditLog,
    AuditPage,
    Control,
    ControlChanges,
    ControlListener,
    ControlLog,
    ControlRecord,
    Items,
    Listener,
    control_record,
)
from mpsd.ports.dead_letters import (
    DeadLetter,
    DeadLetterLog,
    DeadLetterSink,
    DlqPosition,
    Republisher,
)
from mpsd.ports.peer import NOWHERE, Peer
from mpsd.ports.source import AssignmentListener, CommitPoint, Fetched, Position, RecordSource, SourceStatistics

__all__ = [
    "NOWHERE",
    "SYSTEM_CLOCK",
    "AdapterStatistics",
    "AssignmentListener",
    "AuditLog",
    "AuditPage",
    "Clock",
    "CommitPoint",
    "Control",
    "ControlChanges",
    "ControlListener",
    "ControlLog",
    "ControlRecord",
    "DeadLetter",
    "DeadLetterLog",
    "DeadLetterSink",
    "DeliveryAdapter",
    "Demand",
    "DlqPosition",
    "Fetched",
    "Items",
    "Listener",
    "Peer",
    "Position",
    "RecordSource",
    "Republisher",
    "SourceStatistics",
    "control_record",
]
