"""Daemons, records, and what changes say of themselves: what the other views are made of."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from mps.admin.v1 import admin_pb2 as pb
from mpsctl.views.values import base64_of, optional, text_of, time_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A daemon and how it answered."""

    address: str
    """`host:port` of its admin listener, as it advertises it."""
    answered: bool
    """Whether it answered in time."""
    problem: str
    """Why it did not, or what is wrong with it; empty: nothing."""
    version: str
    """Its version, empty if it did not answer."""
    started_at: datetime | None
    """When its process started."""
    partitions: int
    """Partitions assigned to it."""
    control_revision: int
    """Offset of the last control record it has applied; -1: none."""
    control_records_ignored: int
    """Control records it has passed over, as they are of another program or of a later version."""
    id: str
    """Id of its process, drawn when it started; empty: unknown."""
    host: str
    """Name of the machine or container that it runs on; empty if unknown."""

    @classmethod
    def of(cls, message: pb.Instance) -> Self:
        return cls(
            address=message.address,
            answered=message.answered,
            problem=message.problem,
            version=message.version,
            started_at=time_of(message, "started_at"),
            partitions=message.partitions,
            control_revision=message.control_revision,
            control_records_ignored=message.control_records_ignored,
            id=message.id,
            host=message.host,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRef:
    """A record of a topic."""

    topic: str
    """Topic."""
    partition: int
    """Partition."""
    offset: int
    """Offset."""

    @classmethod
    def of(cls, message: pb.RecordRef) -> Self:
        return cls(topic=message.topic, partition=message.partition, offset=message.offset)

    def name(self) -> str:
        """Return the record as it is typed."""
        return f"{self.topic}/{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A subscription, or a part of it."""

    subscription: str
    """Its name."""
    topic: str | None
    """Only this topic."""
    partition: int | None
    """Only this partition."""
    key: str | None
    """Only this key, if it is UTF-8."""
    key_base64: str | None
    """Only this key, whatever it is."""
    content_hidden: bool
    """Whether the key was left out, because the caller may not see it."""

    @classmethod
    def of(cls, message: pb.Selection) -> Self:
        key = optional(message, "key")
        return cls(
            subscription=message.subscription,
            topic=optional(message, "topic"),
            partition=optional(message, "partition"),
            key=text_of(key),
            key_base64=base64_of(key),
            content_hidden=message.content_hidden,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The person who made a change, the time and the reason."""

    who: str
    """Name of the token or certificate; `local` for a caller on the loopback without any."""
    changed_at: datetime | None
    """When it was written."""
    reason: str
    """Why."""
    revision: int
    """Offset of its control record."""

    @classmethod
    def of(cls, message: pb.Provenance) -> Self:
        return cls(
            who=message.who,
            changed_at=time_of(message, "changed_at"),
            reason=message.reason,
            revision=message.revision,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A pause that holds."""

    selection: Selection
    """What is stopped."""
    until: datetime | None
    """When it ends by itself; null: never."""
    provenance: Provenance
    """Whose it is."""

    @classmethod
    def of(cls, message: pb.PauseState) -> Self:
        return cls(
            selection=Selection.of(message.selection),
            until=time_of(message, "until"),
            provenance=Provenance.of(message.provenance),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The result of a change: `pause`, `resume`, `limit`."""

    request_id: str
    """The id that this change went by."""
    revision: int
    """Offset of its control record: the revision from now on. Unchanged: of the last control record."""
    confirmed: bool
    """Whether every daemon has applied it: from then on no delivery starts against it."""
    instances: tuple[Instance, ...]
    """The daemons, and how far each has come."""
    unchanged: bool
    """Whether there was nothing to do, as of a resume of what is not paused: nothing was written."""
    replaced: Pause | None = None
    """Of a pause: the one of the same selection that held until now; null: there was none."""

    @classmethod
    def of(cls, message: pb.Changed, request_id: str) -> Self:
        return cls(
            request_id=request_id,
            revision=message.revision,
            confirmed=message.confirmed,
            instances=tuple(map(Instance.of, message.instances)),
            unchanged=message.unchanged,
            replaced=Pause.of(message.replaced) if message.HasField("replaced") else None,
        )
