"""Changes that operators make (pause, resume, limit, accept rejections), and the history of all changes."""

from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.calls import Calls, Context
from mpsd.admin.confirmation import Changes
from mpsd.admin.daemon import Steerable
from mpsd.admin.status import pause_of
from mpsd.admin.validation import (
    check_change,
    check_topic,
    limits_of,
    optional_subscription,
    page_size,
    page_token,
    parse_token,
    pipeline_of,
    scope_of,
    until_ms,
)
from mpsd.admin.wire import milliseconds, provenance_of, wall_ms
from mpsd.core.audit import AuditEntry
from mpsd.core.brake import BRAKE, BrakeRecord, BrakeState
from mpsd.core.control import EntityKey, OfSubscription
from mpsd.core.limits import LIMIT, Limit
from mpsd.core.pauses import PAUSE, Pause, Scope
from mpsd.errors import ControlOff

_KIND = "audit"


class ChangeCalls(Changes):
    """The methods that change how records are delivered; each raises what `ControlChanges.change` raises."""

    @override
    async def Pause(self, request: pb.PauseRequest, context: Context) -> pb.PauseResponse:
        check_change(request.change)
        scope = scope_of(request.selection)
        end_ms = until_ms(request, wall_ms(self._daemon.clock))
        await self._check(scope)
        lasts = f" for {request.lasts.ToMilliseconds() / 1000:.12g} s" if end_ms is not None else ""
        replaced = await pause_in_place(self._daemon, scope, request.change.request_id)
        instead = f", in place of the pause by {replaced.provenance.who}" if replaced is not None else ""
        description = f"pause of {describe(scope)}{lasts}{instead}"
        document = PAUSE.document(Pause(scope=scope, until_ms=end_ms))
        changed = await self._write(self._key(scope), document, request.change, "Pause", description)
        if replaced is not None:
            changed.replaced.CopyFrom(pause_of(replaced))
        return pb.PauseResponse(changed=changed)

    @override
    async def Resume(self, request: pb.ResumeRequest, context: Context) -> pb.ResumeResponse:
        """End a pause; the resume of a scope that is not paused is no error, and changes nothing."""
        check_change(request.change)
        scope = scope_of(request.selection)
        description = f"resume of {describe(scope)}"
        changed = await self._write(self._key(scope), None, request.change, "Resume", description)
        if changed.unchanged:  # a topic that is subscribed no more may be paused yet
            await self._check(scope)
        return pb.ResumeResponse(changed=changed)

    @override
    async def Limit(self, request: pb.LimitRequest, context: Context) -> pb.LimitResponse:
        """Set or clear the limits of a subscription."""
        check_change(request.change)
        rate, concurrency = limits_of(request)
        pipeline = pipeline_of(self._daemon.pipelines, request.subscription)
        words = [f"{rate:g} a second" if rate else "no rate"] if rate is not None else []
        words += [f"{concurrency} at once" if concurrency is not None else ""]
        description = f"limit of {request.subscription}: {', '.join(filter(None, words)) or 'as configured'}"
        limit = Limit(rate_max_per_s=rate, concurrency_max=concurrency)
        document = None if rate is None and concurrency is None else LIMIT.document(limit)
        key = LIMIT.entity_key(pipeline.settings.sender.group, OfSubscription(request.subscription))
        return pb.LimitResponse(changed=await self._write(key, document, request.change, "Limit", description))

    @override
    async def AcceptRejections(
        self, request: pb.AcceptRejectionsRequest, context: Context
    ) -> pb.AcceptRejectionsResponse:
        """Let rejected records be dead-lettered again after the brake engaged."""
        check_change(request.change)
        pipeline = pipeline_of(self._daemon.pipelines, request.subscription)
        key = BRAKE.entity_key(pipeline.settings.sender.group, OfSubscription(request.subscription))
        control = self._daemon.control
        await control.is_set(key, request.change.request_id)  # reads to the end
        found = pipeline.endpoint.brake
        is_engaged = found is not None and found.state is BrakeState.ENGAGED
        if not is_engaged and control.request(request.change.request_id) is None:
            changed = await self._confirm(key[0], control.revision, unchanged=True)
            return pb.AcceptRejectionsResponse(changed=changed)
        now_ms = wall_ms(self._daemon.clock)
        since_ms = found.since_ms if found is not None else now_ms
        document = BRAKE.document(BrakeRecord(state=BrakeState.ACCEPTED, since_ms=since_ms, at_ms=now_ms))
        description = f"rejections of {request.subscription} accepted"
        changed = await self._write(key, document, request.change, "AcceptRejections", description)
        return pb.AcceptRejectionsResponse(changed=changed)

    async def _check(self, scope: Scope) -> None:
        pipeline_of(self._daemon.pipelines, scope.subscription, "selection.subscription")
        if scope.topic is not None:
            check_topic(scope, await self._daemon.partitions(scope.subscription))

    def _key(self, scope: Scope) -> EntityKey:
        pipeline = pipeline_of(self._daemon.pipelines, scope.subscription, "selection.subscription")
        return PAUSE.entity_key(pipeline.settings.sender.group, scope)


async def pause_in_place(daemon: Steerable, scope: Scope, request_id: str) -> Pause | None:
    """Return the pause of exactly this scope that holds now, unless this very request has made it.

    Raises:
        ControlUnavailable, ControlOff: it cannot be looked up.
    """
    await daemon.control.read_to_end()
    now_ms = wall_ms(daemon.clock)
    for each in pipeline_of(daemon.pipelines, scope.subscription).controls.pauses:
        if each.scope == scope and each.holds(now_ms) and each.provenance.request_id != request_id:
            return each
    return None


def describe(scope: Scope) -> str:
    """Format a scope for logs and the history, without the key, because keys of records are never logged."""
    parts = [scope.subscription]
    parts += [f"topic {scope.topic}"] if scope.topic is not None else []
    parts += [f"partition {scope.partition}"] if scope.partition is not None else []
    parts += [f"key of {len(scope.key)} byte{'' if len(scope.key) == 1 else 's'}"] if scope.key is not None else []
    return ", ".join(parts)


class AuditCalls(Calls):
    """The method that lists the history."""

    @override
    async def ListAudit(self, request: pb.ListAuditRequest, context: Context) -> pb.ListAuditResponse:
        size = page_size(request.page_size)
        subscription = optional_subscription(self._daemon.pipelines, request.subscription)
        token = parse_token(request.page_token, _KIND, (int,))
        history = self._daemon.control.history
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
        provenance=provenance_of(said, entry.revision),
        method=entry.method,
        subscription=entry.subscription,
        description=entry.description,
        request_id=said.request_id,
        instance=said.instance,
    )
