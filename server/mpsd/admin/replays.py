"""Replays of dead letters: previewed, started, controlled and listed, at any instance."""

from dataclasses import replace

from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.calls import Context
from mpsd.admin.confirmation import Changes
from mpsd.admin.daemon import AdminSettings, Steerable
from mpsd.admin.dead_letters import wire_group
from mpsd.admin.fleet import Fleet
from mpsd.admin.refusals import InvalidArgument, unknown
from mpsd.admin.replay_tasks import ReplayRoom, all_tasks, new_task, survey_of, task_id_of, try_to_read
from mpsd.admin.validation import (
    RATE_MAX,
    RATE_MIN,
    check_change,
    check_topic,
    optional_subscription,
    page_size,
    page_token,
    parse_token,
    pipeline_of,
)
from mpsd.admin.wire import dead_letter_of, duration, filter_of, scope_of_filter, wall_ms, wire_replay
from mpsd.core.replay import ReplayPlan, ReplayState, ReplayTarget, ReplayTask
from mpsd.errors import ControlOff, ReplayRefused, RevisionConflict
from mpsd.pipeline.replay.tasks import Replays

GROUPS_MAX = 20
TRIES_MAX = 3
"""Tries of a change that meets one of the owners': they write seldom, and only forwards, so the second finds what there is."""
_TARGETS = {
    pb.REPLAY_TARGET_UNSPECIFIED: ReplayTarget.APPLICATION,
    pb.REPLAY_TARGET_APPLICATION: ReplayTarget.APPLICATION,
    pb.REPLAY_TARGET_TOPIC: ReplayTarget.TOPIC,
}
_TURNS = {
    pb.REPLAY_ACTION_PAUSE: ({ReplayState.RUNNING}, ReplayState.PAUSED),
    pb.REPLAY_ACTION_RESUME: ({ReplayState.PAUSED}, ReplayState.RUNNING),
    pb.REPLAY_ACTION_CANCEL: ({ReplayState.RUNNING, ReplayState.PAUSED}, ReplayState.CANCELLED),
}


class ReplayCalls(Changes):
    """The methods of replays."""

    def __init__(self, daemon: Steerable, fleet: Fleet, settings: AdminSettings) -> None:
        super().__init__(daemon, fleet, settings)
        self._room = ReplayRoom(daemon)

    @override
    async def PreviewReplay(self, request: pb.PreviewReplayRequest, context: Context) -> pb.PreviewReplayResponse:
        """Count the dead letters that a replay would deliver."""
        plan, replays = plan_of(request.plan), _replays(self._daemon, request.plan.subscription)
        await _check(self._daemon, request.plan.subscription, plan)
        bounds = await replays.rules.log.bounds()
        replays.book.see_topic(replays.rules.log.topic_id)
        seen = await survey_of(replays, plan, bounds)
        matched = min(seen.matched, plan.records_max) if plan.records_max else seen.matched
        return pb.PreviewReplayResponse(
            matched_records=matched,
            quarantined_records=seen.quarantined,
            replayed_records=seen.replayed,
            keys=len(seen.keys),
            largest_key_records=max(seen.keys.values(), default=0),
            groups=[wire_group(group, replays.book) for group in seen.groups.most_frequent(GROUPS_MAX)],
            samples=[dead_letter_of(each, replays.book) for each in seen.samples],
            takes=duration(matched / plan.rate_max_per_s) if plan.rate_max_per_s else None,
            incomplete=not seen.is_complete,
        )

    @override
    async def StartReplay(self, request: pb.StartReplayRequest, context: Context) -> pb.StartReplayResponse:
        check_change(request.change)
        daemon, name, plan = self._daemon, request.plan.subscription, plan_of(request.plan)
        replays, pipeline = _replays(daemon, name), pipeline_of(daemon.pipelines, name)
        group = pipeline.settings.sender.group
        task_id = task_id_of(group, name, request.change.request_id)
        await daemon.control.read_to_end()  # it may have been started at another instance
        if (known := replays.book.tasks.get(task_id)) is not None:
            changed = await self._confirm(group, known.revision)
            return pb.StartReplayResponse(replay=wire_replay(replays, known), changed=changed)
        await _check(daemon, name, plan)
        bounds, topic_id = await replays.rules.log.bounds(), replays.rules.log.topic_id
        replays.book.see_topic(topic_id)
        await try_to_read(replays, bounds)
        if plan.records_max:
            seen = await survey_of(replays, plan, bounds)
            if not seen.is_complete:
                raise ReplayRefused("the deadline came before the first records_max were known; give it more time")
            bounds = seen.bounds(bounds)
        task = await new_task(daemon, task_id, pipeline, plan, bounds, topic_id, request.change.reason)
        description = f"replay {task_id} of {name} to the {plan.target.value}"
        async with self._room.room(replays, task_id):
            decided = await self._decide(task.key, task.document(), request.change, "StartReplay", description)
        changed = await self._confirm(group, decided.revision)
        task = replays.book.tasks.get(task_id, task)
        return pb.StartReplayResponse(replay=wire_replay(replays, task), changed=changed)

    @override
    async def ControlReplay(self, request: pb.ControlReplayRequest, context: Context) -> pb.ControlReplayResponse:
        """Pause, resume or cancel a replay, and undo nothing that an owner writes at the same time."""
        check_change(request.change)
        if request.action not in _TURNS:
            raise InvalidArgument("action", "must be to pause, to resume or to cancel")
        for tries_left in reversed(range(TRIES_MAX)):
            try:
                return await self._turn(request)
            except RevisionConflict:
                if request.change.HasField("expected_revision") or not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _turn(self, request: pb.ControlReplayRequest) -> pb.ControlReplayResponse:
        control = self._daemon.control
        await control.read_to_end()
        replays, task = _find(self._daemon, request.id)
        done = control.request(request.change.request_id)
        before, after = _TURNS[request.action]
        if done is not None and done.key == task.key:
            changed = await self._confirm(task.group, done.revision)
        elif task.state not in before | {after}:
            raise ReplayRefused(f"replay {task.id} is {task.state.value}: nothing was changed")
        elif task.state is after and not request.change.HasField("expected_revision"):
            changed = await self._confirm(task.group, control.revision, unchanged=True)
        else:
            ended_at_ms = wall_ms(self._daemon.clock) if after.is_over else None
            reason = "" if after is ReplayState.RUNNING else request.change.reason
            turned = replace(task, state=after, reason=reason, ended_at_ms=ended_at_ms)
            description = f"replay {task.id} of {task.subscription} is {after.value}"
            changed = await self._write(
                task.key, turned.document(), request.change, "ControlReplay", description, task.revision
            )
        task = replays.book.tasks.get(task.id, task)
        return pb.ControlReplayResponse(replay=wire_replay(replays, task), changed=changed)

    @override
    async def GetReplay(self, request: pb.GetReplayRequest, context: Context) -> pb.GetReplayResponse:
        return pb.GetReplayResponse(replay=wire_replay(*_find(self._daemon, request.id)))

    @override
    async def ListReplays(self, request: pb.ListReplaysRequest, context: Context) -> pb.ListReplaysResponse:
        """Return a page of replays, the newest first."""
        name, size = optional_subscription(self._daemon.pipelines, request.subscription), page_size(request.page_size)
        found = [each for each in all_tasks(self._daemon) if name in {"", each[1].subscription}]
        found.sort(key=lambda each: (-each[1].started_at_ms, each[1].id))
        after = parse_token(request.page_token, "replays", (int, str))
        if after is not None:
            before_ms, last_id = -int(after[0]), str(after[1])
            found = [each for each in found if (-each[1].started_at_ms, each[1].id) > (-before_ms, last_id)]
        shown = found[:size]
        token = page_token("replays", -shown[-1][1].started_at_ms, shown[-1][1].id) if len(found) > size else ""
        return pb.ListReplaysResponse(replays=[wire_replay(*each) for each in shown], next_page_token=token)


async def _check(daemon: Steerable, name: str, plan: ReplayPlan) -> None:
    """Check that the plan can be carried out: only owners of source partitions replay.

    Raises:
        NotFound, InvalidArgument, ReplayRefused.
    """
    if plan.target is ReplayTarget.TOPIC and pipeline_of(daemon.pipelines, name).blocked.is_on:
        raise ReplayRefused(
            'ordering.after_dead_letter is "block": records of blocked keys that come by the topic would only be blocked again;'
            " replay to the application"
        )
    if plan.filter.topic:
        check_topic(scope_of_filter(name, plan.filter), await daemon.partitions(name))


def plan_of(given: pb.ReplayPlan) -> ReplayPlan:
    """Parse a message of a request; raises InvalidArgument, which names the field."""
    rate = given.rate_max_per_s
    if rate and not RATE_MIN <= rate <= RATE_MAX:
        raise InvalidArgument("plan.rate_max_per_s", f"{rate:g} is not within {RATE_MIN:g} and {RATE_MAX:g}, nor 0")
    if given.records_max < 0:
        raise InvalidArgument("plan.records_max", f"{given.records_max} is negative")
    if given.target not in _TARGETS:
        raise InvalidArgument("plan.target", f"{given.target} is none that this version knows")
    return ReplayPlan(
        filter=filter_of(given.filter, "plan.filter"),
        target=_TARGETS[given.target],
        rate_max_per_s=rate,
        records_max=given.records_max,
        again=given.again,
        include_quarantined=given.include_quarantined,
    )


def _replays(daemon: Steerable, name: str) -> Replays:
    replays = pipeline_of(daemon.pipelines, name, "plan.subscription").replays
    if replays is None:
        raise ControlOff('control.topic = "" keeps no tasks: nothing can be replayed; name a topic and restart')
    return replays


def _find(daemon: Steerable, task_id: str) -> tuple[Replays, ReplayTask]:
    for replays, task in all_tasks(daemon):
        if task.id == task_id:
            return replays, task
    raise unknown("replay", task_id, [task.id for _, task in all_tasks(daemon)])
