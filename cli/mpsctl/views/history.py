"""The history of changes, check-ups and versions."""

from dataclasses import dataclass
from typing import Self

from mps.admin.v1 import admin_pb2 as pb
from mpsctl.views.fleet import Instance, Provenance
from mpsctl.views.values import Severity, word


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A change that was made."""

    provenance: Provenance
    """Whose it is."""
    method: str
    """The method of the service that made it, such as `Pause`."""
    subscription: str
    """Of which subscription."""
    description: str
    """What was changed and how, for people to read."""
    request_id: str
    """The id that the change went by."""
    instance: str
    """The daemon that made it."""

    @classmethod
    def of(cls, message: pb.AuditEntry) -> Self:
        return cls(
            provenance=Provenance.of(message.provenance),
            method=message.method,
            subscription=message.subscription,
            description=message.description,
            request_id=message.request_id,
            instance=message.instance,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The history of changes: `audit`."""

    entries: tuple[Entry, ...]
    """The changes, newest first."""
    more: bool
    """Whether there are more than `--limit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A result of a check."""

    severity: Severity
    """How bad it is."""
    code: str
    """A code of the errors' reference; empty: as it should be."""
    subject: str
    """What was checked."""
    message: str
    """What was found, for people to read."""
    advice: str
    """What to do; empty: nothing."""
    instances: tuple[str, ...]
    """The daemons that found it."""

    @classmethod
    def of(cls, message: pb.Finding) -> Self:
        return cls(
            severity=word(pb.Severity, message.severity),
            code=message.code,
            subject=message.subject,
            message=message.message,
            advice=message.advice,
            instances=tuple(message.instances),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckUp:
    """A check-up of the fleet: `doctor`."""

    ok: bool
    """Whether no finding is an error and every daemon answered."""
    findings: tuple[Finding, ...]
    """What was found, what is worst first."""
    instances: tuple[Instance, ...]
    """The daemons, and whether they answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonVersion:
    """The daemon that was asked, and its version."""

    address: str
    """`host:port` of its admin listener, as it advertises it."""
    version: str
    """Its version."""
    python: str
    """Version of the Python it runs on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The versions of mpsctl and of the daemon: `version`."""

    mpsctl: str
    """This tool's version."""
    python: str
    """Version of the Python it runs on."""
    daemon: DaemonVersion | None
    """The daemon's; null: not asked, or it does not answer."""
