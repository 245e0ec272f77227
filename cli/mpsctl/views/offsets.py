"""Committed offsets that were moved."""

from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from mpsctl.views.fleet import Changed
from mpsctl.views.values import View


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetPartition(View):
    """The effect of a reset on one partition."""

    topic: str
    """Name of the topic."""
    partition: int
    """Number of the partition, 0 or more."""
    from_offset: int | None
    """Committed offset before the reset; null: none."""
    to_offset: int
    """Committed offset after the reset."""
    repeated_records: int
    """Largest number of settled records that are delivered again, 0 or more."""
    skipped_records: int
    """Largest number of records that are never delivered, 0 or more."""

    @override
    @classmethod
    def other_values(cls, message: Any) -> dict[str, Any]:
        return {"from_offset": None if message.from_offset < 0 else message.from_offset}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(View):
    """A reset of committed offsets, or its preview: `reset`."""

    subscription: str
    """Name of the subscription."""
    dry_run: bool
    """True for a preview: nothing was changed."""
    id: str
    """Id of the reset, which records that are delivered again carry as `Mps-Replay`; empty for a preview."""
    partitions: tuple[ResetPartition, ...]
    """The effect on each partition."""
    changed: Changed | None
    """The result of the change; null for a preview."""
