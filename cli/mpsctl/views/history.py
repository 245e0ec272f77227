"""The history of changes, the findings of a check-up, and versions."""

from dataclasses import dataclass

from mpsctl.views.fleet import Instance, Provenance
from mpsctl.views.values import Severity, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(View):
    """A change that an operator made."""

    provenance: Provenance
    """Author, time and reason of the change."""
    method: str
    """Method of the admin service that made the change, such as `Pause`."""
    subscription: str
    """Name of the subscription that was changed."""
    description: str
    """The change, for people to read."""
    request_id: str
    """Id of the request."""
    instance: str
    """Address of the daemon that made the change, `host:port`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History(View):
    """The changes that operators made: `audit`."""

    entries: tuple[Entry, ...]
    """The changes, the newest first, at most `--limit`."""
    more: bool
    """True if there are more changes than `--limit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(View):
    """The result of one check."""

    severity: Severity
    """`ok`: no problem; `warning`: it works, and may stop working; `error`: it does not work."""
    code: str
    """One of the [codes](errors.md); empty if there is no problem."""
    subject: str
    """The thing that was checked, such as `topic orders`."""
    message: str
    """The result, for people to read."""
    advice: str
    """The action to take; empty if none is needed."""
    instances: tuple[str, ...]
    """Addresses of the daemons that found it, `host:port`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckUp(View):
    """The findings of a check-up: `doctor`."""

    ok: bool
    """True if every daemon answered and no finding is an error."""
    findings: tuple[Finding, ...]
    """The findings, the worst first."""
    instances: tuple[Instance, ...]
    """All daemons; `answered` tells which ones were checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonVersion(View):
    """The version of the daemon that was called."""

    address: str
    """Address of its admin listener, `host:port`, as it advertises it."""
    version: str
    """Version of `mpsd`, such as `0.1.0`."""
    python: str
    """Version of Python on which it runs, such as `3.11.7`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions(View):
    """Versions of both programs: `version`."""

    mpsctl: str
    """Version of `mpsctl`, such as `0.1.0`."""
    python: str
    """Version of Python on which `mpsctl` runs, such as `3.11.7`."""
    daemon: DaemonVersion | None
    """Version of the daemon; null with `--client`, or if no daemon answers."""
