"""The check-up: what every daemon finds of itself, and what is found of the fleet."""

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, assert_never

from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.calls import CALL, Context, Metadata
from mpsd.admin.daemon import Finding, Steerable, WatchedFiles, fine, problem, warning
from mpsd.admin.fleet import TIMEOUT_S_MAX, instance_of, members_of, sort_instances
from mpsd.admin.overview import StatusCalls
from mpsd.admin.rates import RECENT_S, Rates
from mpsd.core.breaker import EndpointState
from mpsd.core.states import DeliveryState
from mpsd.listeners.reach import faults
from mpsd.pipeline.pipeline import Pipeline

UNCONFIRMED = "until then no change is confirmed, and status lacks what it has"
UNSETTLED = "until then other daemons pass no settlement on to it"
UNTOLD = "until then clients are not told of it"
DIAGNOSE_S_MAX = 8.0
"""Time that a daemon has to look at brokers and endpoints: less than another waits for it."""
BLOCKED_SHARE = 0.8
"""The share of `ordering.blocked_keys_max` from which on blocked keys are a warning."""
IGNORED = "bring this daemon to the newest version of the fleet, and keep other programs out of the topic"
_ORDER = (pb.SEVERITY_ERROR, pb.SEVERITY_WARNING, pb.SEVERITY_OK, pb.SEVERITY_UNSPECIFIED)


class CheckupCalls(StatusCalls):
    """The method that looks for what is wrong."""

    @override
    async def Diagnose(self, request: pb.DiagnoseRequest, context: Context) -> pb.DiagnoseResponse:
        async def ask(stub: Any, timeout_s: float, metadata: Metadata) -> pb.DiagnoseResponse:
            alone = pb.DiagnoseRequest(scope=pb.SCOPE_INSTANCE)
            answer: pb.DiagnoseResponse = await stub.Diagnose(alone, timeout=timeout_s, metadata=metadata)
            return answer

        daemon = self._daemon
        (given, silent), answer, own = await asyncio.gather(
            self._others(request.scope, "", ask, TIMEOUT_S_MAX),
            self.GetStatus(pb.GetStatusRequest(scope=request.scope), context),
            findings_of(daemon, self.rates, CALL.get().within_s(DIAGNOSE_S_MAX)),
        )
        instances = [instance_of(daemon), *(each for said in given for each in said.instances), *silent]
        if request.scope == pb.SCOPE_INSTANCE:
            return pb.DiagnoseResponse(findings=own, instances=instances, settings=daemon.settings)
        settings = {
            daemon.peer.admin: daemon.settings,
            **{each.address: said.settings for said in given for each in said.instances},
        }
        found = [*own, *(finding for each in given for finding in each.findings), *drift(settings)]
        found += state_findings(answer.status, explained_by(found))
        return pb.DiagnoseResponse(findings=sort_findings(group_findings(found)), instances=sort_instances(instances))


async def findings_of(daemon: Steerable, rates: Rates, within_s: float) -> list[pb.Finding]:
    """Return what this daemon finds, by itself and of itself.

    Args:
        within_s: the look at brokers and endpoints ends before, so that a daemon that has found nothing but silence says
            so, and is not taken for silent itself.
    """
    own = [problem("this daemon", text, advice="restart it") for text in daemon.not_alive()]
    if waiting := daemon.control.waiting_for():
        own.append(warning("control", waiting, code="control.unavailable"))
    own += unreachable(daemon)
    own += [_broken_files(each) for each in daemon.watched_files() if each.broken]
    for pipeline in daemon.pipelines:
        own += [*_unreceived(pipeline), *_blocked_keys(pipeline), *_metadata_limit(pipeline)]
        own += [*_endpoint(pipeline), *_dead_letters(pipeline, rates)]
    if ignored := daemon.control_statistics().ignored:
        counts = ", ".join(f"{count} {reason}" for reason, count in ignored.items())
        text = f"records of the control topic are not understood here and change nothing: {counts}"
        own.append(warning("control", text, code="control.record_ignored", advice=IGNORED))
    return sort_findings(_finding(each, daemon.peer.admin) for each in (*own, *await daemon.diagnose(within_s)))


def _unreceived(pipeline: Pipeline) -> Iterator[Finding]:
    """Find that nobody comes for the records of a subscription."""
    state, reason = pipeline.delivery_situation()
    if state is DeliveryState.NO_RECEIVER:
        advice = "where it may stay away for longer, set delivery.receiver_timeout_s"
        yield warning(pipeline.settings.name, f"nobody receives: {reason}", code="receiver.missing", advice=advice)


def _metadata_limit(pipeline: Pipeline) -> Iterator[Finding]:
    """Find that the broker takes less text beside a commit than the offset map is configured for."""
    taken, wanted = pipeline.maps.space.units_max, pipeline.settings.map_space.units_max
    if taken >= wanted:
        return
    text = (
        f"the broker takes {taken} units of text beside a commit, not the {wanted} of commit.metadata_units_max: behind a"
        " record that does not settle, a partition stops reading sooner"
    )
    advice = "raise offset.metadata.max.bytes of the brokers, or set commit.metadata_units_max to it"
    yield warning(pipeline.settings.name, text, code="kafka.metadata_too_large", advice=advice)


def unreachable(daemon: Steerable) -> list[Finding]:
    """Find the instances that the others cannot reach, where they need to."""
    members = members_of(daemon)
    admin = dict.fromkeys(faults(members, "admin").values(), UNCONFIRMED)
    kinds = {pipeline.settings.sender.endpoint for pipeline in daemon.pipelines}
    http = dict.fromkeys(faults(members, "http").values(), UNSETTLED) if "pull" in kinds else {}
    stream = dict.fromkeys(faults(members, "stream").values(), UNTOLD) if "stream" in kinds else {}
    code = "fleet.unreachable"
    return [
        (problem if text in admin else warning)("fleet", f"{text}; {therefore}", code=code)
        for text, therefore in {**admin, **http, **stream}.items()
    ]


def _broken_files(watched: WatchedFiles) -> Finding:
    """Return the finding about files that cannot be used as they are now; the content read before stays in use."""
    return warning(
        watched.subscription or "this daemon",
        f"{watched.name} cannot be reloaded: {watched.broken}; the last good version stays in use",
        code="reload.kept",
        advice=f"put right {', '.join(watched.files)}; the daemon looks again by itself",
    )


def _blocked_keys(pipeline: Pipeline) -> Iterator[Finding]:
    """Find that many keys are blocked behind dead letters, compared with the bound on them."""
    name, keys_max = pipeline.settings.name, pipeline.settings.blocked_keys_max
    blocked = len(pipeline.blocked.book)
    if not blocked or not keys_max:
        return
    text = f"{blocked} keys are blocked behind dead letters, and ordering.blocked_keys_max is {keys_max}"
    if blocked >= keys_max:
        text += ": the records of a key that should be blocked wait, and what is behind them in their partitions is not committed"
    if blocked < keys_max * BLOCKED_SHARE:
        yield fine(name, text)
    else:
        advice = f"repair the application, then mpsctl replay-dlq {name}; or skip the records that block them"
        yield warning(name, text, code="blocked_key.full" if blocked >= keys_max else "", advice=advice)


def sort_findings(findings: Iterable[pb.Finding]) -> list[pb.Finding]:
    """Return the findings, the worst first."""
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


MANY_RECORDS = 10
"""Fewer dead letters are no pattern."""
MANY_SHARE = 0.01
"""The share of recently settled records from which on dead letters are a warning."""
MOST_SHARE = 0.5
"""From here on they are an error: the application refuses more than it takes."""


def _endpoint(pipeline: Pipeline) -> Iterator[Finding]:
    name, endpoint = pipeline.settings.name, pipeline.endpoint.statistics()
    waiting = sum(len(queue.tracker.unfinished) for queue in pipeline.pending.queues.values())
    since = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(endpoint.since_ms / 1000))
    match endpoint.state:
        case EndpointState.UP if endpoint.is_accepted:
            text = (
                "rejections of the endpoint are accepted: rejected records are dead-lettered until a delivery succeeds"
            )
            yield warning(name, text, code="endpoint.rejections_accepted")
        case EndpointState.UP:
            return
        case EndpointState.OUT:
            text = f"endpoint out since {since}: nothing succeeds, and {waiting:,} records wait at no cost"
            yield problem(
                name,
                f"{text}; the last failure: {endpoint.reason}",
                code="endpoint.out",
                advice=f"{_look(pipeline)}; deliveries go on by themselves",
            )
        case EndpointState.ALL_REJECTED:
            text = (
                f"endpoint rejects everything since {since}: dead-lettering stopped after {endpoint.rejections:,} records,"
                f" and {waiting:,} wait"
            )
            yield problem(
                name,
                f"{text}; the last rejection: {endpoint.reason}",
                code="endpoint.all_rejected",
                advice=f"{_look(pipeline)}; if the rejections are right, mpsctl accept-rejections {name}",
            )
        case _:
            assert_never(endpoint.state)


def _look(pipeline: Pipeline) -> str:
    """Return the advice to repair the application, and how to look at it where it has a URL."""
    url = pipeline.settings.sender.endpoint.partition("?")[0]
    return "repair the application" + (f" (mpsd check-endpoint {url} looks at it)" if url.startswith("http") else "")


def _dead_letters(pipeline: Pipeline, rates: Rates) -> Iterator[Finding]:
    name, recent = pipeline.settings.name, rates.recent(pipeline.settings.name)
    dead, settled = recent.dead_lettered, recent.dead_lettered + recent.delivered
    if not dead:
        return
    last = pipeline.writer.last_dead_letter
    text = f"{dead:,} of {settled:,} records of the last {RECENT_S / 60:g} minutes became dead letters"
    text += f"; the last: {last}" if last is not None else ""
    if dead < MANY_RECORDS or dead < settled * MANY_SHARE:
        yield fine(name, text)
    else:
        advice = f"see why with mpsctl dlq ls {name} --group-by reason; repair the application, then mpsctl replay-dlq {name}"
        yield (warning if dead < settled * MOST_SHARE else problem)(name, text, advice=advice)


STATE_ADVICE: Mapping[str, str] = {
    DeliveryState.UNKNOWN: "bring the daemon that has it back, or end it: the others take over from its last commit",
    DeliveryState.DLQ_BLOCKED: "repair the dead-letter topic; the write is tried again by itself",
    DeliveryState.UNREADABLE: "if the batch is too large, raise kafka.batch_bytes_max and restart the daemons; if it is damaged,"
    " pass over it: mpsctl reset NAME --to TOPIC/PARTITION@OFFSET, the offset behind it",
    DeliveryState.BLOCKED_KEYS_FULL: "replay or skip some blocked keys: mpsctl dlq ls NAME --disposition blocked --group-by key",
    DeliveryState.BLOCKED_KEYS_UNWRITABLE: "repair the control topic; the write is tried again by itself",
    DeliveryState.FAILED: "repair what the reason names, then restart the daemon",
}
"""The advice for a state; for the others the reason says it, or there is nothing to be done."""


def state_findings(status: pb.Status, explained: Collection[str]) -> Iterator[pb.Finding]:
    """Yield a finding for each subscription that is not running.

    Args:
        explained: subscriptions whose endpoint has a finding of its own, which says more.
    """
    for said in status.subscriptions:
        is_endpoint = said.state in {DeliveryState.ENDPOINT_OUT, DeliveryState.ALL_REJECTED}
        if said.state_severity == pb.SEVERITY_OK or (is_endpoint and said.name in explained):
            continue
        yield pb.Finding(
            severity=said.state_severity,
            subject=said.name,
            message=f"{said.state}: {said.state_reason}" if said.state_reason else said.state,
            advice=STATE_ADVICE.get(said.state, "").replace("NAME", said.name),
        )


def explained_by(findings: Collection[pb.Finding]) -> set[str]:
    """Return the subscriptions whose endpoint is the subject of a finding."""
    return {each.subject for each in findings if each.code.startswith("endpoint.")}


SETTINGS_SHOWN_MAX = 10
UNSET = "not set"
Settings = Mapping[str, str]
DRIFT_ADVICE = (
    "roll the same configuration out to every daemon; until then what happens to a record depends on who has it"
)


def drift(settings: Mapping[str, Settings]) -> list[pb.Finding]:
    """Find the settings that differ, the values of each daemon named.

    Settings of a subscription are compared among the daemons that run it.

    Args:
        settings: of each daemon, by its address.
    """
    paths = sorted({path for each in settings.values() for path in each})
    texts = [text for path in paths if (text := _difference(path, _having(path, settings)))]
    if not texts:
        return []
    code = "fleet.config_drift"
    more = f"; and {len(texts) - SETTINGS_SHOWN_MAX} more" if len(texts) > SETTINGS_SHOWN_MAX else ""
    return [
        pb.Finding(
            severity=pb.SEVERITY_WARNING,
            code=code,
            subject="fleet",
            message=f"daemons are configured differently: {'; '.join(texts[:SETTINGS_SHOWN_MAX])}{more}",
            advice=DRIFT_ADVICE,
            instances=sorted(settings),
        )
    ]


def _having(path: str, settings: Mapping[str, Settings]) -> Mapping[str, str]:
    """Return the value of a setting at each daemon that has the table it is of."""
    table, subscription, *_ = [*path.split("."), ""]
    name = f"subscriptions.{subscription}.name"
    return {
        address: each.get(path, UNSET) for address, each in settings.items() if table != "subscriptions" or name in each
    }


def _difference(path: str, values: Mapping[str, str]) -> str:
    """Say who has which value; empty if all have the same."""
    by_value: dict[str, list[str]] = {}
    for address, value in sorted(values.items()):
        by_value.setdefault(value, []).append(address)
    if len(by_value) < 2:
        return ""
    said = " and ".join(f"{value} at {', '.join(addresses)}" for value, addresses in by_value.items())
    return f"{path} is {said}"


def group_findings(findings: Iterable[pb.Finding]) -> Sequence[pb.Finding]:
    """Say once what several daemons found alike, and name them."""
    grouped: dict[tuple[int, str, str, str, str], pb.Finding] = {}
    for each in findings:
        key = (each.severity, each.code, each.subject, each.message, each.advice)
        if key not in grouped:
            grouped[key] = pb.Finding()
            grouped[key].CopyFrom(each)
        else:
            known = grouped[key].instances
            known.extend(address for address in each.instances if address not in known)
            known.sort()
    return list(grouped.values())
