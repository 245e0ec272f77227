"""Rules for a topic whose records must survive: what of its settings would lose a dead letter, or make one poorer."""

from dataclasses import dataclass
from typing import NamedTuple

REPLICATION_MAX = 3
"""Replicas of a topic that the daemon makes, where the cluster has as many brokers."""
MIN_IN_SYNC = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSettings:
    """Settings of a topic; None is a setting that the broker did not show.

    Attributes:
        retention_ms: -1 is for ever.
        retention_bytes: of a partition; -1 is without a bound.
        max_message_bytes: of a batch, compressed.
    """

    replicas: int
    min_in_sync: int | None = None
    cleanup_policy: str | None = None
    retention_ms: int | None = None
    retention_bytes: int | None = None
    max_message_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSettings:
    """Settings that dead letters need.

    Attributes:
        retention_s: 0: for ever.
        record_bytes_max: the largest `max.message.bytes` of the source topics; 0 if unknown.
    """

    replicas: int
    retention_s: int
    record_bytes_max: int = 0


class Weakness(NamedTuple):
    """A setting that dead letters suffer from.

    Attributes:
        text: the setting, and what comes of it.
        loses: a dead letter that was acknowledged can be lost; nothing may be written to such a topic.
    """

    text: str
    loses: bool = False


def weaknesses(found: TopicSettings, wanted: WantedSettings) -> list[Weakness]:
    """Return the weaknesses of a dead-letter topic; those that lose dead letters come first."""
    policy = found.cleanup_policy or ""
    weak = []
    if "compact" in policy:
        text = f"cleanup.policy={policy} keeps only the last dead letter of a key, and refuses one without a key"
        weak.append(Weakness(text, loses=True))
    if "delete" in policy:
        weak += _retention(found, wanted)
    if found.max_message_bytes is not None and found.max_message_bytes < wanted.record_bytes_max:
        text = f"max.message.bytes={found.max_message_bytes} is below the {wanted.record_bytes_max} of the source topic"
        weak.append(Weakness(f"{text}: a larger record becomes a dead letter without its value"))
    return weak + _replication(found, wanted)


def _retention(found: TopicSettings, wanted: WantedSettings) -> list[Weakness]:
    weak = []
    kept_ms = -1 if found.retention_ms is None else found.retention_ms
    if kept_ms >= 0 and (not wanted.retention_s or kept_ms < wanted.retention_s * 1000):
        instead = f"{wanted.retention_s} s" if wanted.retention_s else "for ever"
        weak.append(Weakness(f"retention.ms={kept_ms} keeps dead letters {kept_ms // 1000} s instead of {instead}"))
    if found.retention_bytes is not None and found.retention_bytes >= 0:
        text = (
            f"retention.bytes={found.retention_bytes} deletes the oldest dead letters of a partition beyond that size"
        )
        weak.append(Weakness(text))
    return weak


def _replication(found: TopicSettings, wanted: WantedSettings) -> list[Weakness]:
    weak = []
    if found.replicas < wanted.replicas:
        weak.append(Weakness(f"{found.replicas} replica(s) instead of {wanted.replicas}"))
    if found.min_in_sync is None:
        return weak
    if found.replicas >= REPLICATION_MAX and found.min_in_sync < MIN_IN_SYNC:
        text = f"min.insync.replicas={found.min_in_sync} instead of {MIN_IN_SYNC}: one broker alone may acknowledge"
        weak.append(Weakness(text))
    if found.min_in_sync > found.replicas:
        text = f"min.insync.replicas={found.min_in_sync} is above its {found.replicas} replica(s): it takes no record"
        weak.append(Weakness(text))
    return weak
