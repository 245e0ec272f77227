"""Committed offsets that were moved."""

from dataclasses import dataclass
from typing import Self

from mps.admin.v1 import admin_pb2 as pb
from mpsctl.views.fleet import Changed


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetPartition:
    """The effect of a reset on a partition."""

    topic: str
    """Topic."""
    partition: int
    """Number."""
    from_offset: int | None
    """Committed offset before; null: none."""
    to_offset: int
    """Committed offset after."""
    repeated_records: int
    """Settled records that are delivered again, at most."""
    skipped_records: int
    """Records that are never delivered, at most."""

    @classmethod
    def of(cls, message: pb.ResetPartition) -> Self:
        return cls(
            topic=message.topic,
            partition=message.partition,
            from_offset=None if message.from_offset < 0 else message.from_offset,
            to_offset=message.to_offset,
            repeated_records=message.repeated_records,
            skipped_records=message.skipped_records,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Offsets that were, or would be, moved: `reset`."""

    subscription: str
    """Whose."""
    dry_run: bool
    """Whether nothing was changed."""
    id: str
    """Its id, which records that it brings back carry as `Mps-Replay`; empty on a dry run."""
    partitions: tuple[ResetPartition, ...]
    """What becomes of each partition."""
    changed: Changed | None
    """What became of it; null on a dry run."""

    @classmethod
    def of(cls, message: pb.ResetResponse, request: pb.ResetRequest) -> Self:
        return cls(
            subscription=request.subscription,
            dry_run=request.dry_run,
            id=message.id,
            partitions=tuple(map(ResetPartition.of, message.partitions)),
            changed=Changed.of(message.changed, request.change.request_id) if message.HasField("changed") else None,
        )
