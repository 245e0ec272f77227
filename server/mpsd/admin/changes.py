"""Changes that operators make (pause, resume, limit, accept rejections): written, applied and confirmed."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.access import CALLER
from mpsd.admin.daemon import Steerable
from mpsd.admin.fleet import MARGIN, Fleet, silent, sort_instances
from mpsd.admin.status import instance_of, pause_of
from mpsd.admin.validation import check_change, check_topic, limits_of, pipeline_of, scope_of, until_ms
from mpsd.admin.wire import wall_ms
from mpsd.core.brake import BRAKE, BrakeRecord, BrakeState
from mpsd.core.control import EntityKey, OfSubscription
from mpsd.core.limits import LIMIT, Limit
from mpsd.core.pauses import PAUSE, Pause, Scope
from mpsd.errors import KafkaRefused, KafkaUnavailable
from mpsd.listeners.reach import faults
from mpsd.ports import Peer

ASK_AGAIN_S = 0.1
"""Between two looks at members that have not applied the change, or at a group that is rebalancing."""
LIST_AGAIN_S = 1.0
"""How old a list of members may become that lacks somebody: who is dead leaves the group, and holds up nothing then."""


async def confirm(
    daemon: Steerable,
    fleet: Fleet,
    group: str,
    revision: int,
    metadata: Sequence[tuple[str, str]],
    timeout_s: float,
) -> pb.Changed:
    """Wait until all have applied the change, or the time is over.

    Args:
        metadata: the caller's credentials, for the others.
        timeout_s: 0 or more.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    problem = ""
    peers: Sequence[Peer] = ()
    while True:
        left_s = deadline_s - loop.time()
        try:
            async with asyncio.timeout(max(0.1, left_s)):
                is_stable, peers, _ = await daemon.members(group)
            problem = "" if is_stable else "the group is rebalancing: who is in it is not known yet"
        except TimeoutError:
            problem = problem or "Kafka did not list the group's members in time"
        except (KafkaUnavailable, KafkaRefused) as error:
            problem = str(error)
        if not problem:
            changed = await _applied(daemon, fleet, peers, revision, metadata, deadline_s, timeout_s)
            if changed is not None:
                return changed
            continue
        if loop.time() + ASK_AGAIN_S >= deadline_s:
            return await _not_known(daemon, fleet, group, revision, metadata, problem)
        await asyncio.sleep(ASK_AGAIN_S)


async def _applied(
    daemon: Steerable,
    fleet: Fleet,
    peers: Sequence[Peer],
    revision: int,
    metadata: Sequence[tuple[str, str]],
    deadline_s: float,
    timeout_s: float,
) -> pb.Changed | None:
    """Ask the members until all have applied the change, or the time is over; None where they are to be listed again."""
    loop = asyncio.get_running_loop()
    listed_s = loop.time()
    others = sorted(set(peers) - {daemon.peer})
    wrong = faults({daemon.peer, *others})
    known = {peer: silent(peer, wrong.get(peer, "")) for peer in others}
    while True:
        asked = [(peer, known[peer]) for peer in others if peer not in wrong]
        missing = [peer for peer, said in asked if not said.answered or said.control_revision < revision]
        answers = await fleet.ask(missing, ask_instance, metadata, max(0.1, deadline_s - loop.time()), timeout_s)
        known |= dict(answers.given)
        said_nothing = {(each.address, each.id): each for each in answers.silent}
        known |= {p: said_nothing[p.admin, p.instance] for p in missing if (p.admin, p.instance) in said_nothing}
        instances = [instance_of(daemon, wrong.get(daemon.peer)), *known.values()]
        needed = [instance_of(daemon), *(known[peer] for peer in others if peer not in wrong)]
        is_applied = all(instance.answered and instance.control_revision >= revision for instance in needed)
        if is_applied or loop.time() + ASK_AGAIN_S >= deadline_s:
            is_confirmed = is_applied and not wrong
            return pb.Changed(revision=revision, confirmed=is_confirmed, instances=sort_instances(instances))
        await asyncio.sleep(ASK_AGAIN_S)
        if loop.time() - listed_s >= LIST_AGAIN_S:
            return None


async def _not_known(
    daemon: Steerable,
    fleet: Fleet,
    group: str,
    revision: int,
    metadata: Sequence[tuple[str, str]],
    problem: str,
) -> pb.Changed:
    """Ask the last known members once, because the current members are not known; the change is not confirmed."""
    answers = await fleet.ask(fleet.others(group), ask_instance, metadata, 1.0)
    own = instance_of(daemon)
    own.problem = "; ".join(filter(None, (own.problem, problem)))
    instances = [own, *(said for _, said in answers.given), *answers.silent]
    return pb.Changed(revision=revision, confirmed=False, instances=sort_instances(instances))


async def ask_instance(stub: Any, timeout_s: float, metadata: Sequence[tuple[str, str]]) -> pb.Instance:
    """Ask one instance for its own status."""
    request = pb.GetStatusRequest(scope=pb.SCOPE_INSTANCE, subscription="")
    answer: pb.GetStatusResponse = await stub.GetStatus(request, timeout=timeout_s, metadata=metadata)
    return answer.status.instances[0]


Metadata = Sequence[tuple[str, str]]


class Decided(NamedTuple):
    """A change that is in the control topic.

    Attributes:
        revision: the offset that every member has to reach.
        unchanged: nothing was written, because there was nothing to remove.
    """

    revision: int
    unchanged: bool


class Changes:
    """The changes of one daemon: each is written to the control topic, and confirmed by every member of the group.

    Args:
        confirm_timeout_s: how long a change waits for all instances.
    """

    def __init__(self, daemon: Steerable, fleet: Fleet, confirm_timeout_s: float) -> None:
        self._daemon = daemon
        self._fleet = fleet
        self._confirm_timeout_s = confirm_timeout_s

    async def pause(self, request: pb.PauseRequest, metadata: Metadata, left_s: float | None) -> pb.Changed:
        """Stop deliveries; raises InvalidArgument, NotFound, and what `ControlChanges.change` raises."""
        check_change(request.change)
        scope = scope_of(request.selection)
        end_ms = until_ms(request, wall_ms(self._daemon.clock))
        await self._check(scope)
        lasts = f" for {request.lasts.ToMilliseconds() / 1000:.12g} s" if end_ms is not None else ""
        replaced = await self._pause_of(scope, request.change.request_id)
        instead = f", in place of the pause by {replaced.provenance.who}" if replaced is not None else ""
        description = f"pause of {describe(scope)}{lasts}{instead}"
        document = PAUSE.document(Pause(scope=scope, until_ms=end_ms))
        changed = await self._paused(scope, document, request.change, "Pause", description, metadata, left_s)
        if replaced is not None:
            changed.replaced.CopyFrom(pause_of(replaced))
        return changed

    async def _pause_of(self, scope: Scope, request_id: str) -> Pause | None:
        """Return the pause of exactly this scope that holds now, unless this very request has made it.

        Raises:
            ControlUnavailable, ControlOff: it cannot be looked up.
        """
        await self._daemon.control.read_to_end()
        known = pipeline_of(self._daemon.pipelines, scope.subscription).controls.pauses
        now_ms = wall_ms(self._daemon.clock)
        return next(
            (
                each
                for each in known
                if each.scope == scope and each.holds(now_ms) and each.provenance.request_id != request_id
            ),
            None,
        )

    async def resume(self, request: pb.ResumeRequest, metadata: Metadata, left_s: float | None) -> pb.Changed:
        """End a pause; raises what `pause` does. The resume of a scope that is not paused is no error, and changes nothing."""
        check_change(request.change)
        scope = scope_of(request.selection)
        pipeline_of(self._daemon.pipelines, scope.subscription, "selection.subscription")
        said = f"resume of {describe(scope)}"
        changed = await self._paused(scope, None, request.change, "Resume", said, metadata, left_s)
        if changed.unchanged:  # a topic that is subscribed no more may be paused yet
            await self._check(scope)
        return changed

    async def limit(self, request: pb.LimitRequest, metadata: Metadata, left_s: float | None) -> pb.Changed:
        """Set or clear the limits of a subscription; raises what `pause` does."""
        check_change(request.change)
        rate, concurrency = limits_of(request)
        pipeline = pipeline_of(self._daemon.pipelines, request.subscription)
        group = pipeline.settings.sender.group
        words = [f"{rate:g} a second" if rate else "no rate"] if rate is not None else []
        words += [f"{concurrency} at once" if concurrency is not None else ""]
        said = f"limit of {request.subscription}: {', '.join(filter(None, words)) or 'as configured'}"
        limit = Limit(rate_max_per_s=rate, concurrency_max=concurrency)
        document = None if rate is None and concurrency is None else LIMIT.document(limit)
        key = LIMIT.entity_key(group, OfSubscription(request.subscription))
        return await self.write(key, document, request.change, "Limit", said, metadata, left_s)

    async def accept_rejections(
        self, request: pb.AcceptRejectionsRequest, metadata: Metadata, left_s: float | None
    ) -> pb.Changed:
        """Let rejected records be dead-lettered again after the brake engaged; raises what `pause` does."""
        check_change(request.change)
        pipeline = pipeline_of(self._daemon.pipelines, request.subscription)
        key = BRAKE.entity_key(pipeline.settings.sender.group, OfSubscription(request.subscription))
        control = self._daemon.control
        await control.is_set(key, request.change.request_id)  # reads to the end
        found = pipeline.endpoint.brake
        is_engaged = found is not None and found.state is BrakeState.ENGAGED
        if not is_engaged and control.request(request.change.request_id) is None:
            return await self.confirm(key[0], control.revision, metadata, left_s, unchanged=True)
        now_ms = wall_ms(self._daemon.clock)
        since_ms = found.since_ms if found is not None else now_ms
        document = BRAKE.document(BrakeRecord(state=BrakeState.ACCEPTED, since_ms=since_ms, at_ms=now_ms))
        said = f"rejections of {request.subscription} accepted"
        return await self.write(key, document, request.change, "AcceptRejections", said, metadata, left_s)

    async def _check(self, scope: Scope) -> None:
        pipeline_of(self._daemon.pipelines, scope.subscription, "selection.subscription")
        if scope.topic is not None:
            check_topic(scope, await self._daemon.partitions(scope.subscription))

    async def _paused(
        self,
        scope: Scope,
        document: Mapping[str, Any] | None,
        change: pb.Change,
        method: str,
        said: str,
        metadata: Metadata,
        left_s: float | None,
    ) -> pb.Changed:
        group = pipeline_of(self._daemon.pipelines, scope.subscription).settings.sender.group
        return await self.write(PAUSE.entity_key(group, scope), document, change, method, said, metadata, left_s)

    async def write(
        self,
        key: EntityKey,
        document: Mapping[str, Any] | None,
        change: pb.Change,
        method: str,
        said: str,
        metadata: Metadata,
        left_s: float | None,
        found_at: int | None = None,
    ) -> pb.Changed:
        """Write a change, and wait until every member has applied it; see `decide`."""
        begin_s = self._daemon.clock.monotonic_s()
        decided = await self.decide(key, document, change, method, said, found_at)
        left_s = None if left_s is None else left_s - (self._daemon.clock.monotonic_s() - begin_s)
        return await self.confirm(key[0], decided.revision, metadata, left_s, unchanged=decided.unchanged)

    async def decide(
        self,
        key: EntityKey,
        document: Mapping[str, Any] | None,
        change: pb.Change,
        method: str,
        said: str,
        found_at: int | None = None,
    ) -> Decided:
        """Write a change into the control topic; raises what `ControlChanges.change` does.

        The removal of an entity that does not exist writes nothing.

        Args:
            found_at: revision that the change was made of; the revision that the caller expects takes precedence.
        """
        control = self._daemon.control
        expected = change.expected_revision if change.HasField("expected_revision") else found_at
        if document is None and expected is None and not await control.is_set(key, change.request_id):
            return Decided(control.revision, unchanged=True)
        revision = await control.change(
            key,
            document,
            who=CALLER.get().name,
            reason=change.reason,
            request_id=change.request_id,
            expected_revision=expected,
            method=method,
            description=said,
            subscription=key[2],
        )
        return Decided(revision, unchanged=False)

    async def confirm(
        self, group: str, revision: int, metadata: Metadata, left_s: float | None, *, unchanged: bool = False
    ) -> pb.Changed:
        """Wait until every member has applied what was decided before.

        Args:
            left_s: how long the caller will wait; None: for ever.
        """
        wait_s = self._confirm_timeout_s
        if left_s is not None:
            wait_s = min(wait_s, left_s * (1 - MARGIN))
        changed = await confirm(self._daemon, self._fleet, group, revision, metadata, max(0.0, wait_s))
        changed.unchanged = unchanged
        return changed


def describe(scope: Scope) -> str:
    """Format a scope for logs and the history, without the key, because keys of records are never logged."""
    parts = [scope.subscription]
    parts += [f"topic {scope.topic}"] if scope.topic is not None else []
    parts += [f"partition {scope.partition}"] if scope.partition is not None else []
    parts += [f"key of {len(scope.key)} byte{'' if len(scope.key) == 1 else 's'}"] if scope.key is not None else []
    return ", ".join(parts)
