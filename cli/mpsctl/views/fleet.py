"""Daemons, records, pauses and the results of changes: the parts that other views have in common."""

from dataclasses import dataclass
from datetime import datetime

from mpsctl.views.values import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance(View):
    """A daemon of the fleet."""

    address: str
    """Address of its admin listener, `host:port`, as it advertises it."""
    answered: bool
    """True if the daemon answered in time."""
    problem: str
    """Reason why the daemon did not answer, or a problem that it reports; empty if there is none."""
    version: str
    """Version of `mpsd`, such as `0.1.0`; empty if the daemon did not answer."""
    started_at: datetime | None
    """Time at which its process started; null if the daemon did not answer."""
    partitions: int
    """Number of partitions assigned to the daemon; 0 if it did not answer."""
    control_revision: int
    """Offset of the last record of the control topic that the daemon has applied; -1 if it has applied none."""
    control_records_ignored: int
    """Number of records of the control topic that the daemon ignored since it started, because another program or a
    later version wrote them."""
    id: str
    """Random id of its process, new at each start; empty if unknown."""
    host: str
    """Name of the machine or container on which the daemon runs; empty if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRef(View):
    """The position of a record."""

    topic: str
    """Name of the topic."""
    partition: int
    """Number of the partition, 0 or more."""
    offset: int
    """Offset in the partition, 0 or more."""

    def name(self) -> str:
        """Return the record as it is typed."""
        return f"{self.topic}/{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection(View):
    """A subscription, or a part of it."""

    subscription: str
    """Name of the subscription."""
    topic: str | None
    """The topic that is selected; null: all topics."""
    partition: int | None
    """The partition of `topic` that is selected; null: all partitions."""
    key: str | None
    """The key that is selected, as text; null: all keys, or a key that is not UTF-8 (see `key_base64`)."""
    key_base64: str | None
    """The key that is selected, in base64; null: all keys, or a key that the caller may not see (see
    `content_hidden`)."""
    content_hidden: bool
    """True if a key is selected that the caller may not see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance(View):
    """The author, the time and the reason of a change."""

    who: str
    """Name of the author's token or certificate; `local` for a caller on the loopback without either."""
    changed_at: datetime | None
    """Time at which the change was written; null if unknown."""
    reason: str
    """Reason that the author gave."""
    revision: int
    """Offset of the change in the control topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(View):
    """A pause that is in effect."""

    selection: Selection
    """The part of the subscription whose deliveries are stopped."""
    until: datetime | None
    """Time at which the pause ends by itself; null: it lasts until somebody resumes."""
    provenance: Provenance
    """Author, time and reason of the pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed(View):
    """The result of a change: `pause`, `resume`, `limit`, `accept-rejections`."""

    request_id: str
    """Id of the request; a repeated request with the same id changes nothing."""
    revision: int
    """Offset of the change in the control topic; if `unchanged`, the offset of the last record there."""
    confirmed: bool
    """True if every daemon has applied the change, so that no delivery starts against it any more."""
    instances: tuple[Instance, ...]
    """All daemons; `control_revision` tells how far each has come."""
    unchanged: bool
    """True if there was nothing to do, so that nothing was written: for example, a resume without a pause."""
    replaced: Pause | None = None
    """For a pause: the earlier pause of the same selection that it replaces; null if there was none."""
