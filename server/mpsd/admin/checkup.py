"""The check-up and the history, as the wire says them."""

from collections.abc import Iterable

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.daemon import Finding, Steerable, WatchedFiles
from mpsd.admin.failing import failing_findings
from mpsd.admin.fleet import MARGIN
from mpsd.admin.page_tokens import page_size, page_token, parse_token
from mpsd.admin.rates import Rates
from mpsd.admin.status import members_of
from mpsd.admin.times import milliseconds, timestamp
from mpsd.admin.validation import optional_subscription
from mpsd.core.audit import AuditEntry
from mpsd.core.states import DeliveryState
from mpsd.errors import ControlOff
from mpsd.listeners.reach import faults
from mpsd.pipeline.pipeline import Pipeline

UNCONFIRMED = "until then no change is confirmed, and status lacks what it has"
UNSETTLED = "until then other daemons pass no settlement on to it"
UNTOLD = "until then clients are not told of it"
_KIND = "audit"
DIAGNOSE_S_MAX = 8.0
"""How long a daemon looks at brokers and endpoints: less than it is waited for by another."""
BLOCKED_SHARE = 0.8
"""Of `ordering.blocked_keys_max`: from here on somebody should see to it."""
IGNORED = "bring this daemon to the newest version of the fleet, and keep other programs out of the topic"
_ORDER = (pb.SEVERITY_ERROR, pb.SEVERITY_WARNING, pb.SEVERITY_OK, pb.SEVERITY_UNSPECIFIED)


async def findings_of(daemon: Steerable, rates: Rates, left_s: float | None) -> list[pb.Finding]:
    """Return what this daemon finds, by itself and of itself.

    Args:
        left_s: how long the caller will wait; None: for ever. The look at brokers and endpoints ends before, so that a
            daemon that has found nothing but silence says so, and is not taken for silent itself.
    """
    within_s = DIAGNOSE_S_MAX if left_s is None else min(DIAGNOSE_S_MAX, left_s * (1 - MARGIN))
    own = [Finding(ok=False, about="this daemon", text=text, advice="restart it") for text in daemon.not_alive()]
    if waiting := daemon.control.waiting_for():
        own.append(Finding(ok=False, works=True, about="control", text=waiting, code="control.unavailable"))
    own += unreachable(daemon)
    own += [finding for pipeline in daemon.pipelines if (finding := _unreceived(pipeline)) is not None]
    own += [finding for pipeline in daemon.pipelines if (finding := _blocked_keys(pipeline)) is not None]
    own += [finding for pipeline in daemon.pipelines if (finding := _metadata_limit(pipeline)) is not None]
    own += [_broken_files(each) for each in daemon.watched_files() if each.broken]
    own += [finding for pipeline in daemon.pipelines for finding in failing_findings(pipeline, rates)]
    if ignored := daemon.control_statistics().ignored:
        counts = ", ".join(f"{count} {reason}" for reason, count in ignored.items())
        text = f"records of the control topic are not understood here and change nothing: {counts}"
        own.append(
            Finding(ok=False, works=True, about="control", text=text, code="control.record_ignored", advice=IGNORED)
        )
    return sort_findings(_finding(each, daemon.peer.admin) for each in (*own, *await daemon.diagnose(within_s)))


def _unreceived(pipeline: Pipeline) -> Finding | None:
    """Find that nobody comes for the records of a subscription."""
    state, reason = pipeline.delivery_situation()
    if state is not DeliveryState.NO_RECEIVER:
        return None
    name, advice = pipeline.settings.name, "where it may stay away for longer, set delivery.receiver_timeout_s"
    text = f"nobody receives: {reason}"
    return Finding(ok=False, works=True, about=name, text=text, code="receiver.missing", advice=advice)


def _metadata_limit(pipeline: Pipeline) -> Finding | None:
    """Find that the broker takes less text beside a commit than the offset map is configured for."""
    taken, wanted = pipeline.maps.space.units_max, pipeline.settings.map_space.units_max
    if taken >= wanted:
        return None
    text = (
        f"the broker takes {taken} units of text beside a commit, not the {wanted} of commit.metadata_units_max: behind a"
        " record that does not settle, a partition stops reading sooner"
    )
    advice = "raise offset.metadata.max.bytes of the brokers, or set commit.metadata_units_max to it"
    return Finding(
        ok=False, works=True, about=pipeline.settings.name, text=text, code="kafka.metadata_too_large", advice=advice
    )


def unreachable(daemon: Steerable) -> list[Finding]:
    """Find the instances that the others cannot reach, where they need to."""
    members = members_of(daemon)
    admin = dict.fromkeys(faults(members, "admin").values(), UNCONFIRMED)
    kinds = {pipeline.settings.sender.endpoint for pipeline in daemon.pipelines}
    http = dict.fromkeys(faults(members, "http").values(), UNSETTLED) if "pull" in kinds else {}
    stream = dict.fromkeys(faults(members, "stream").values(), UNTOLD) if "stream" in kinds else {}
    code = "fleet.unreachable"
    return [
        Finding(ok=False, works=text not in admin, about="fleet", text=f"{text}; {therefore}", code=code)
        for text, therefore in {**admin, **http, **stream}.items()
    ]


def _broken_files(watched: WatchedFiles) -> Finding:
    """Files changed into something that cannot be used; what was read before is, until it expires or is revoked."""
    return Finding(
        ok=False,
        works=True,
        about=watched.subscription or "this daemon",
        text=f"{watched.name} cannot be reloaded: {watched.broken}; the last good version stays in use",
        code="reload.kept",
        advice=f"put right {', '.join(watched.files)}; the daemon looks again by itself",
    )


def _blocked_keys(pipeline: Pipeline) -> Finding | None:
    """Keys are blocked behind dead letters until somebody replays them, and there is a bound."""
    name, keys_max = pipeline.settings.name, pipeline.settings.blocked_keys_max
    blocked = len(pipeline.blocked.book)
    if not blocked or not keys_max:
        return None
    is_near = blocked >= keys_max * BLOCKED_SHARE
    text = f"{blocked} keys are blocked behind dead letters, and ordering.blocked_keys_max is {keys_max}"
    if blocked >= keys_max:
        text += ": the records of a key that should be blocked wait, and what is behind them in their partitions is not committed"
    advice = f"repair the application, then mpsctl replay-dlq {name}; or skip the records that hold them"
    if not is_near:
        return Finding(ok=True, about=name, text=text)
    return Finding(
        ok=False,
        works=True,
        about=name,
        text=text,
        code="blocked_key.full" if blocked >= keys_max else "",
        advice=advice,
    )


def sort_findings(findings: Iterable[pb.Finding]) -> list[pb.Finding]:
    """The worst first."""
    return sorted(findings, key=lambda each: (_ORDER.index(each.severity), each.subject, *each.instances))


def _finding(said: Finding, address: str) -> pb.Finding:
    severity = pb.SEVERITY_OK if said.ok else pb.SEVERITY_WARNING if said.works else pb.SEVERITY_ERROR
    return pb.Finding(
        severity=severity,
        code=said.code,
        subject=said.about,
        message=said.text,
        advice=said.advice,
        instances=[address],
    )


async def audit_page(daemon: Steerable, request: pb.ListAuditRequest) -> pb.ListAuditResponse:
    """Raises InvalidArgument, NotFound, ControlOff, ControlUnavailable."""
    size = page_size(request.page_size)
    subscription = optional_subscription(daemon.pipelines, request.subscription)
    token = parse_token(request.page_token, _KIND, (int,))
    history = daemon.control.history
    if history is None:
        raise ControlOff("no history is kept: control.topic or control.audit_topic is empty")
    since_ms = milliseconds(request.since) if request.HasField("since") else 0
    before = int(token[0]) if token is not None else None
    page = await history.page(before, size, subscription, since_ms)
    return pb.ListAuditResponse(
        entries=[_entry(entry) for entry in page.entries],
        next_page_token=page_token(_KIND, page.before) if page.before is not None else "",
    )


def _entry(entry: AuditEntry) -> pb.AuditEntry:
    said = entry.provenance
    return pb.AuditEntry(
        provenance=pb.Provenance(
            who=said.who, changed_at=timestamp(said.at_ms), reason=said.reason, revision=entry.revision
        ),
        method=entry.method,
        subscription=entry.subscription,
        description=entry.description,
        request_id=said.request_id,
        instance=said.instance,
    )
