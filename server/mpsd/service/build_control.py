"""From the configuration to the control plane."""

from collections.abc import Mapping
from typing import Any

from mpsd.config import Config
from mpsd.config.daemon import Control
from mpsd.kafka.audit import AuditSettings, KafkaAudit
from mpsd.kafka.control_log import ControlSettings, KafkaControlLog
from mpsd.kafka.internal_topics import InternalTopic
from mpsd.service.control import ControlPlane


def control_plane(config: Config, options: Mapping[str, Any], instance: str) -> ControlPlane:
    """The control state of all subscriptions, connected to nothing yet.

    Args:
        options: of every Kafka client; see `kafka.connection.client_options`.
        instance: what others call this daemon.
    """
    control = config.control
    groups = {subscription.group for subscription in config.subscriptions}
    if not control.topic:
        return ControlPlane(None, None, groups, instance)
    log = KafkaControlLog(control_settings(control), options)
    audit = KafkaAudit(audit_settings(control), options) if control.audit_topic else None
    return ControlPlane(log, audit, groups, instance)


def internal_topics(control: Control) -> list[InternalTopic]:
    """The topics that the daemon keeps for itself, where it keeps any."""
    audit = [audit_settings(control).own_topic] if control.topic and control.audit_topic else []
    return [control_settings(control).own_topic, *audit] if control.topic else []


def control_settings(control: Control) -> ControlSettings:
    """What the control log is told."""
    return ControlSettings(
        topic=control.topic,
        replication_factor=control.replication_factor,
        write_timeout_s=control.write_timeout_s,
    )


def audit_settings(control: Control) -> AuditSettings:
    """What the history is told."""
    return AuditSettings(
        topic=control.audit_topic,
        retention_s=control.audit_retention_s,
        replication_factor=control.replication_factor,
        timeout_s=control.write_timeout_s,
    )
