"""The admin service: each call is checked, answered by this daemon or by all, and its errors become gRPC statuses."""

import asyncio
import platform
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from grpc import aio
from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from mps.admin.v1 import admin_pb2_grpc as pb_grpc
from mpsd import __version__
from mpsd.admin import replays, resets
from mpsd.admin.access import CALLER, allow
from mpsd.admin.changes import Changes
from mpsd.admin.checkup import (
    DIED,
    audit_page,
    drift,
    explained_by,
    findings_of,
    group_findings,
    sort_findings,
    state_findings,
)
from mpsd.admin.daemon import AdminSettings, Steerable
from mpsd.admin.dead_letters import get_dead_letter, list_dead_letters, summarize_dead_letters
from mpsd.admin.fleet import TIMEOUT_S_MAX, Ask, Fleet, merge_lanes, merge_partitions, merge_status, sort_instances
from mpsd.admin.missing import Missing, MissingPartitions, add_missing, count_states, heard_of, listed, within
from mpsd.admin.rates import Counts, Rates
from mpsd.admin.refusals import PermissionDenied, TooManyWatchers, refuse
from mpsd.admin.replays import ReplayRoom
from mpsd.admin.skips import FORWARDED, Skips
from mpsd.admin.status import Lanes, instance_of, next_page, position_after, status_of
from mpsd.admin.validation import check_topic, interval_s, optional_subscription, page_size, pipeline_of, scope_of
from mpsd.errors import MpsError
from mpsd.listeners.rights import Role
from mpsd.pipeline.inspection import Wanted

WATCHERS_MAX = 100
"""Each asks the fleet again and again."""

Context = aio.ServicerContext[Any, Any]
Answer = TypeVar("Answer")


class AdminServicer(pb_grpc.AdminServicer):
    """The service `mps.admin.v1.Admin`; the proto documents each call.

    Holds at most: `WATCHERS_MAX` watches.
    """

    def __init__(self, daemon: Steerable, fleet: Fleet, settings: AdminSettings) -> None:
        self._daemon = daemon
        self._fleet = fleet
        self._settings = settings
        self._changes = Changes(daemon, fleet, settings.confirm_timeout_s)
        self._room = ReplayRoom(daemon)
        self._skips = Skips(daemon, fleet, self._room)
        self._missing = MissingPartitions(daemon)
        self._lanes = Lanes(daemon.clock)
        self._ended = asyncio.Event()
        self._watchers = 0
        self.rates = Rates(self._counts, daemon.clock.monotonic_s)

    def end(self) -> None:
        """End the watches, and the skips that wait for a dead-letter topic."""
        self._ended.set()
        self._skips.end()

    @override
    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        return await _answer(context, self._status(request, context))

    @override
    async def WatchStatus(
        self, request: pb.WatchStatusRequest, context: Context
    ) -> AsyncIterator[pb.WatchStatusResponse]:
        try:
            pause_s = interval_s(request)
            if self._watchers >= WATCHERS_MAX:
                raise TooManyWatchers(f"{WATCHERS_MAX} watch already")
        except MpsError as error:
            await refuse(context, error)
        asked = pb.GetStatusRequest(
            subscription=request.subscription, scope=request.scope, partitions=request.partitions
        )
        self._watchers += 1
        try:
            while not self._ended.is_set():
                answer = await _answer(context, self._status(asked, context))
                yield pb.WatchStatusResponse(status=answer.status)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._ended.wait()
        finally:
            self._watchers -= 1

    @override
    async def Inspect(self, request: pb.InspectRequest, context: Context) -> pb.InspectResponse:
        return await _answer(context, self._inspect(request, context))

    @override
    async def Pause(self, request: pb.PauseRequest, context: Context) -> pb.PauseResponse:
        change = self._changes.pause(request, _credentials(context), context.time_remaining())
        return pb.PauseResponse(changed=await _answer(context, change))

    @override
    async def Resume(self, request: pb.ResumeRequest, context: Context) -> pb.ResumeResponse:
        change = self._changes.resume(request, _credentials(context), context.time_remaining())
        return pb.ResumeResponse(changed=await _answer(context, change))

    @override
    async def Limit(self, request: pb.LimitRequest, context: Context) -> pb.LimitResponse:
        change = self._changes.limit(request, _credentials(context), context.time_remaining())
        return pb.LimitResponse(changed=await _answer(context, change))

    @override
    async def AcceptRejections(
        self, request: pb.AcceptRejectionsRequest, context: Context
    ) -> pb.AcceptRejectionsResponse:
        change = self._changes.accept_rejections(request, _credentials(context), context.time_remaining())
        return pb.AcceptRejectionsResponse(changed=await _answer(context, change))

    @override
    async def Reset(self, request: pb.ResetRequest, context: Context) -> pb.ResetResponse:
        change = resets.reset(self._daemon, self._changes, request, _credentials(context), context.time_remaining())
        return await _answer(context, change)

    @override
    async def PreviewReplay(self, request: pb.PreviewReplayRequest, context: Context) -> pb.PreviewReplayResponse:
        return await _answer(context, replays.preview(self._daemon, request, context.time_remaining()))

    @override
    async def StartReplay(self, request: pb.StartReplayRequest, context: Context) -> pb.StartReplayResponse:
        change = replays.start(
            self._daemon, self._changes, self._room, request, _credentials(context), context.time_remaining()
        )
        return await _answer(context, change)

    @override
    async def ControlReplay(self, request: pb.ControlReplayRequest, context: Context) -> pb.ControlReplayResponse:
        change = replays.control(self._daemon, self._changes, request, _credentials(context), context.time_remaining())
        return await _answer(context, change)

    @override
    async def GetReplay(self, request: pb.GetReplayRequest, context: Context) -> pb.GetReplayResponse:
        return await _answer(context, replays.get(self._daemon, request))

    @override
    async def ListReplays(self, request: pb.ListReplaysRequest, context: Context) -> pb.ListReplaysResponse:
        return await _answer(context, replays.page(self._daemon, request))

    @override
    async def Skip(self, request: pb.SkipRequest, context: Context) -> pb.SkipResponse:
        is_forwarded = any(name == FORWARDED for name, _ in context.invocation_metadata() or ())
        left_s = context.time_remaining()
        skip = self._skips.skip(request, _credentials(context), left_s, is_forwarded=is_forwarded)
        return await _answer(context, skip)

    @override
    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        return await _answer(context, list_dead_letters(self._daemon, request))

    @override
    async def SummarizeDeadLetters(
        self, request: pb.SummarizeDeadLettersRequest, context: Context
    ) -> pb.SummarizeDeadLettersResponse:
        return await _answer(context, self._summary(request, context))

    @override
    async def GetDeadLetter(self, request: pb.GetDeadLetterRequest, context: Context) -> pb.GetDeadLetterResponse:
        return await _answer(context, self._dead_letter(request))

    @override
    async def ListAudit(self, request: pb.ListAuditRequest, context: Context) -> pb.ListAuditResponse:
        return await _answer(context, audit_page(self._daemon, request))

    @override
    async def Diagnose(self, request: pb.DiagnoseRequest, context: Context) -> pb.DiagnoseResponse:
        return await _answer(context, self._diagnose(request, context))

    @override
    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        return pb.GetVersionResponse(
            version=__version__, python_version=platform.python_version(), address=self._daemon.peer.admin
        )

    async def _status(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        name = optional_subscription(self._daemon.pipelines, request.subscription)

        async def ask(stub: Any, timeout_s: float, metadata: Sequence[tuple[str, str]]) -> pb.Status:
            alone = pb.GetStatusRequest(scope=pb.SCOPE_INSTANCE, subscription=name, partitions=True)
            answer: pb.GetStatusResponse = await stub.GetStatus(alone, timeout=timeout_s, metadata=metadata)
            return answer.status

        given, silent = await self._others(request.scope, name, ask, context)
        answers = [status_of(self._daemon, self.rates, name, partitions=True), *given]
        missing: Missing = {}
        if request.scope != pb.SCOPE_INSTANCE:
            pipelines = [each for each in self._daemon.pipelines if name in {"", each.settings.name}]
            missing = await self._missing.look_up(pipelines, heard_of(answers), silent, context.time_remaining())
        instances = [*(instance for answer in answers for instance in answer.instances), *silent]
        status = merge_status(answers, instances)
        for said in status.subscriptions:
            add_missing(said, missing.get(said.name, ()))
            count_states(said)
            if not request.partitions:
                del said.partitions[:]
        return pb.GetStatusResponse(status=status)

    async def _inspect(self, request: pb.InspectRequest, context: Context) -> pb.InspectResponse:
        size, after, scope = (
            page_size(request.page_size),
            position_after(request.page_token),
            scope_of(request.selection),
        )
        pipeline = pipeline_of(self._daemon.pipelines, scope.subscription, "selection.subscription")
        if request.values:
            self._check_values("Inspect with values")
        if scope.topic is not None and request.scope != pb.SCOPE_INSTANCE:
            check_topic(scope, await self._daemon.partitions(scope.subscription))

        async def ask(stub: Any, timeout_s: float, metadata: Sequence[tuple[str, str]]) -> pb.InspectResponse:
            alone = pb.InspectRequest()
            alone.CopyFrom(request)
            alone.scope = pb.SCOPE_INSTANCE
            answer: pb.InspectResponse = await stub.Inspect(alone, timeout=timeout_s, metadata=metadata)
            return answer

        given, silent = await self._others(request.scope, scope.subscription, ask, context)
        wanted = Wanted(topic=scope.topic, partition=scope.partition, key=scope.key, blocked=request.blocked)
        own = await self._lanes.page(pipeline, wanted, size, after, values=request.values)
        status = status_of(self._daemon, self.rates, scope.subscription, partitions=True).subscriptions[0]
        heard = merge_partitions([*status.partitions, *(part for answer in given for part in answer.partitions)])
        if request.scope != pb.SCOPE_INSTANCE:
            said = {scope.subscription: listed(heard)}
            missing = await self._missing.look_up([pipeline], said, silent, context.time_remaining(), scope)
            heard = merge_partitions([*heard, *missing.get(scope.subscription, ())])
        lanes = merge_lanes([own, *(answer.lanes for answer in given)], size)
        instances = [instance_of(self._daemon), *(each for answer in given for each in answer.instances), *silent]
        return pb.InspectResponse(
            lanes=lanes,
            partitions=[part for part in heard if within(scope, part)],
            instances=sort_instances(instances),
            next_page_token=next_page(lanes, size),
        )

    async def _diagnose(self, request: pb.DiagnoseRequest, context: Context) -> pb.DiagnoseResponse:
        async def ask(stub: Any, timeout_s: float, metadata: Sequence[tuple[str, str]]) -> pb.DiagnoseResponse:
            alone = pb.DiagnoseRequest(scope=pb.SCOPE_INSTANCE)
            answer: pb.DiagnoseResponse = await stub.Diagnose(alone, timeout=timeout_s, metadata=metadata)
            return answer

        (given, silent), answer, own = await asyncio.gather(
            self._others(request.scope, "", ask, context, TIMEOUT_S_MAX),
            self._status(pb.GetStatusRequest(scope=request.scope), context),
            findings_of(self._daemon, self.rates, context.time_remaining()),
        )
        instances = [instance_of(self._daemon), *(each for said in given for each in said.instances), *silent]
        if request.scope == pb.SCOPE_INSTANCE:
            return pb.DiagnoseResponse(findings=own, instances=instances, settings=self._daemon.settings)
        settings = {
            self._daemon.peer.admin: self._daemon.settings,
            **{each.address: said.settings for said in given for each in said.instances},
        }
        found = [*own, *(finding for each in given for finding in each.findings), *drift(settings)]
        found += state_findings(answer.status, explained_by(found))
        return pb.DiagnoseResponse(findings=sort_findings(group_findings(found)), instances=sort_instances(instances))

    async def _others(
        self,
        scope: pb.Scope.ValueType,
        subscription: str,
        ask: Ask[Answer],
        context: Context,
        patience_s: float | None = None,
    ) -> tuple[list[Answer], Sequence[pb.Instance]]:
        """Return what the other instances say, if they are to be asked; see `Fleet.ask`."""
        if scope == pb.SCOPE_INSTANCE:
            return [], ()
        group = pipeline_of(self._daemon.pipelines, subscription).settings.sender.group if subscription else ""
        answers = await self._fleet.ask(
            self._fleet.others(group), ask, _credentials(context), context.time_remaining(), patience_s=patience_s
        )
        return [said for _, said in answers.given], answers.silent

    async def _dead_letter(self, request: pb.GetDeadLetterRequest) -> pb.GetDeadLetterResponse:
        if request.values:
            self._check_values("GetDeadLetter with values")
        return await get_dead_letter(self._daemon, request)

    async def _summary(
        self, request: pb.SummarizeDeadLettersRequest, context: Context
    ) -> pb.SummarizeDeadLettersResponse:
        if request.grouping == pb.DEAD_LETTER_GROUPING_KEY and not CALLER.get().sees_content:
            raise PermissionDenied(
                f"grouping by key needs the role operator, or content = true; {CALLER.get().name} has viewer"
            )
        return await summarize_dead_letters(self._daemon, request, context.time_remaining())

    def _check_values(self, what: str) -> None:
        allow(CALLER.get(), Role.ADMIN, what)
        if not self._settings.values:
            raise PermissionDenied("values of records are not shown here: [admin] values = false")

    def _counts(self) -> dict[str, Counts]:
        return {
            pipeline.settings.name: Counts(
                pipeline.writer.outcomes["delivered"],
                pipeline.writer.retries,
                sum(count for why, count in pipeline.dead_letters.items() if why in DIED),
            )
            for pipeline in self._daemon.pipelines
        }


async def _answer(context: Context, answer: Awaitable[Answer]) -> Answer:
    """Return the answer, or end the call with the status of the error."""
    try:
        return await answer
    except MpsError as error:
        await refuse(context, error)


def _credentials(context: Context) -> list[tuple[str, str]]:
    """Return the caller's credentials, for the other instances."""
    return [
        (name, value)
        for name, value in context.invocation_metadata() or ()
        if name == "authorization" and isinstance(value, str)
    ]
