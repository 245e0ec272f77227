"""Replays of dead letters: previewed, started, controlled and listed, at any instance."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.access import CALLER
from mpsd.admin.changes import Changes, Metadata
from mpsd.admin.daemon import Steerable
from mpsd.admin.dead_letters import wire_group
from mpsd.admin.fleet import MARGIN
from mpsd.admin.refusals import InvalidArgument, unknown
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
from mpsd.core.record import LogBounds
from mpsd.core.replay import ReplayPlan, ReplayState, ReplayTarget, ReplayTask
from mpsd.core.replay_progress import progress_key
from mpsd.errors import ControlOff, ReplayRefused, RevisionConflict
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replay.survey import Survey, survey
from mpsd.pipeline.replay.tasks import Replays


def task_id_of(group: str, subscription: str, request_id: str) -> str:
    """Return the id of a replay task; a repeated request has the same id, so that it starts one replay."""
    return "r" + hashlib.sha256(f"{group}\0{subscription}\0{request_id}".encode()).hexdigest()[:12]


async def new_task(
    daemon: Steerable,
    task_id: str,
    pipeline: Pipeline,
    plan: ReplayPlan,
    bounds: Mapping[int, LogBounds],
    topic_id: str,
    reason: str,
) -> ReplayTask:
    """Return a task of the caller's that begins now, over all source partitions; not written yet.

    Raises:
        ReplayRefused: there is no source partition, so nobody would replay.
    """
    name = pipeline.settings.name
    sources = {topic: count for topic, count in (await daemon.partitions(name)).items() if count}
    if not sources:
        raise ReplayRefused(
            f"no topic of subscription {name} exists, and only owners of their partitions replay; create one"
        )
    return ReplayTask(
        id=task_id,
        group=pipeline.settings.sender.group,
        subscription=name,
        plan=plan,
        bounds=[bounds[number] for number in sorted(bounds)],
        sources=sources,
        state=ReplayState.RUNNING,
        reason="",
        started_at_ms=wall_ms(daemon.clock),
        ended_at_ms=None,
        started_by=CALLER.get().name,
        started_reason=reason,
        topic_id=topic_id,
    )


class ReplayRoom:
    """The room for new replay tasks: `control.replays_max` tasks of all subscriptions of this daemon.

    Two daemons that start replays at the same moment may exceed the bound by one.
    """

    def __init__(self, daemon: Steerable) -> None:
        self._daemon = daemon
        self._one = asyncio.Lock()

    @asynccontextmanager
    async def room(self, replays: Replays, task_id: str) -> AsyncIterator[None]:
        """Make room for a task that is to be written within the context; one task at a time.

        Raises:
            ReplayRefused: as many replays have not ended as there may be tasks, or the settled offsets of the
                subscription take too much text.
            ControlUnavailable: the tasks of other daemons are not known.
        """
        async with self._one:
            await self._daemon.control.read_to_end()
            if task_id not in replays.book.tasks:
                _check_settled_bytes(replays)
                await self._forget_ended(replays)
            yield

    async def _forget_ended(self, replays: Replays) -> None:
        """Forget the oldest tasks that have ended, as many as the new task needs."""
        tasks = sorted(all_tasks(self._daemon), key=lambda each: each[1].started_at_ms)
        surplus = len(tasks) - replays.rules.tasks_max + 1
        ended = [each for each in tasks if each[1].state.is_over][: max(0, surplus)]
        if len(ended) < surplus:
            unended = sum(not task.state.is_over for _, task in tasks)
            raise ReplayRefused(
                f"{unended} replays have not ended, and control.replays_max is {replays.rules.tasks_max}: wait for one, or"
                " cancel one"
            )
        for owner, task in ended:
            reports = [(progress_key(task, source), None) for source in owner.book.reported(task.id)]
            await owner.rules.record([*reports, (task.key, None)])  # the offsets that the task has settled stay known


def all_tasks(daemon: Steerable) -> list[tuple[Replays, ReplayTask]]:
    """Return the replay tasks of all subscriptions."""
    known = [pipeline.replays for pipeline in daemon.pipelines if pipeline.replays is not None]
    return [(replays, task) for replays in known for task in replays.book.tasks.values()]


def _check_settled_bytes(replays: Replays) -> None:
    for (source, number), size in replays.book.settled_bytes.items():
        if size >= replays.rules.replayed_bytes_max:
            raise ReplayRefused(
                f"the list of replayed dead letters of {source} takes {size} bytes, and control.replayed_bytes_max is"
                f" {replays.rules.replayed_bytes_max}: wait until partition {number} of the dead-letter topic has expired,"
                " or raise the limit"
            )


SURVEY_S_MAX = 60.0
GROUPS_MAX = 20
TRIES_MAX = 3
"""Of a change that met one of the owners': they write seldom, and only forwards, so the second finds what there is."""
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


async def preview(
    daemon: Steerable, request: pb.PreviewReplayRequest, left_s: float | None
) -> pb.PreviewReplayResponse:
    """Count the dead letters that a replay would deliver; raises InvalidArgument, NotFound, and the errors of Kafka."""
    plan, replays = plan_of(request.plan), _replays(daemon, request.plan.subscription)
    await _check(daemon, request.plan.subscription, plan)
    bounds = await replays.rules.log.bounds()
    replays.book.see_topic(replays.rules.log.topic_id)
    seen = await _survey(replays, request.plan.subscription, plan, bounds, left_s)
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


async def start(
    daemon: Steerable,
    changes: Changes,
    room: ReplayRoom,
    request: pb.StartReplayRequest,
    metadata: Metadata,
    left_s: float | None,
) -> pb.StartReplayResponse:
    """Start a replay; raises what `preview` does, and what `ControlChanges.change` raises."""
    begin_s = daemon.clock.monotonic_s()
    check_change(request.change)
    name, plan = request.plan.subscription, plan_of(request.plan)
    replays, pipeline = _replays(daemon, name), pipeline_of(daemon.pipelines, name)
    group = pipeline.settings.sender.group
    task_id = task_id_of(group, name, request.change.request_id)
    await daemon.control.read_to_end()  # it may have been started at another instance
    if (known := replays.book.tasks.get(task_id)) is not None:
        changed = await changes.confirm(group, known.revision, metadata, left_s)
        return pb.StartReplayResponse(replay=wire_replay(replays, known), changed=changed)
    await _check(daemon, name, plan)
    bounds, topic_id = await replays.rules.log.bounds(), replays.rules.log.topic_id
    replays.book.see_topic(topic_id)
    await _try_to_read(replays, bounds)
    if plan.records_max:
        seen = await _survey(replays, name, plan, bounds, left_s)
        if not seen.is_complete:
            raise ReplayRefused("the deadline came before the first records_max were known; give it more time")
        bounds = seen.bounds(bounds)
    task = await new_task(daemon, task_id, pipeline, plan, bounds, topic_id, request.change.reason)
    said = f"replay {task_id} of {name} to the {plan.target.value}"
    async with room.room(replays, task_id):
        decided = await changes.decide(task.key, task.document(), request.change, "StartReplay", said)
    left_s = None if left_s is None else left_s - (daemon.clock.monotonic_s() - begin_s)
    changed = await changes.confirm(group, decided.revision, metadata, left_s)
    return pb.StartReplayResponse(replay=wire_replay(replays, replays.book.tasks.get(task_id, task)), changed=changed)


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


async def control(
    daemon: Steerable, changes: Changes, request: pb.ControlReplayRequest, metadata: Metadata, left_s: float | None
) -> pb.ControlReplayResponse:
    """Pause, resume or cancel a replay, and undo nothing that an owner writes at the same time; raises what `start` does."""
    check_change(request.change)
    if request.action not in _TURNS:
        raise InvalidArgument("action", "must be to pause, to resume or to cancel")
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            return await _turn(daemon, changes, request, metadata, left_s)
        except RevisionConflict:
            if request.change.HasField("expected_revision") or not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


async def _turn(
    daemon: Steerable, changes: Changes, request: pb.ControlReplayRequest, metadata: Metadata, left_s: float | None
) -> pb.ControlReplayResponse:
    begin_s = daemon.clock.monotonic_s()
    await daemon.control.read_to_end()
    replays, task = _find(daemon, request.id)
    done = daemon.control.request(request.change.request_id)
    before, after = _TURNS[request.action]
    if done is not None and done.key == task.key:
        changed = await changes.confirm(task.group, done.revision, metadata, left_s)
    elif task.state not in before | {after}:
        raise ReplayRefused(f"replay {task.id} is {task.state.value}: nothing was changed")
    elif task.state is after and not request.change.HasField("expected_revision"):
        changed = await changes.confirm(task.group, daemon.control.revision, metadata, left_s, unchanged=True)
    else:
        ended_at_ms = wall_ms(daemon.clock) if after.is_over else None
        reason = "" if after is ReplayState.RUNNING else request.change.reason
        turned = replace(task, state=after, reason=reason, ended_at_ms=ended_at_ms)
        said = f"replay {task.id} of {task.subscription} is {after.value}"
        left_s = None if left_s is None else left_s - (daemon.clock.monotonic_s() - begin_s)
        changed = await changes.write(
            task.key, turned.document(), request.change, "ControlReplay", said, metadata, left_s, task.revision
        )
    return pb.ControlReplayResponse(replay=wire_replay(replays, replays.book.tasks.get(task.id, task)), changed=changed)


async def get(daemon: Steerable, request: pb.GetReplayRequest) -> pb.GetReplayResponse:
    """Return a replay; raises NotFound."""
    return pb.GetReplayResponse(replay=wire_replay(*_find(daemon, request.id)))


async def page(daemon: Steerable, request: pb.ListReplaysRequest) -> pb.ListReplaysResponse:
    """Return a page of replays, the newest first; raises InvalidArgument, NotFound."""
    name, size = optional_subscription(daemon.pipelines, request.subscription), page_size(request.page_size)
    found = [each for each in all_tasks(daemon) if name in {"", each[1].subscription}]
    found.sort(key=lambda each: (-each[1].started_at_ms, each[1].id))
    after = parse_token(request.page_token, "replays", (int, str))
    if after is not None:
        before_ms, last_id = -int(after[0]), str(after[1])
        found = [each for each in found if (-each[1].started_at_ms, each[1].id) > (-before_ms, last_id)]
    shown = found[:size]
    token = page_token("replays", -shown[-1][1].started_at_ms, shown[-1][1].id) if len(found) > size else ""
    return pb.ListReplaysResponse(replays=[wire_replay(*each) for each in shown], next_page_token=token)


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


async def _try_to_read(replays: Replays, bounds: Mapping[int, LogBounds]) -> None:
    """Read one dead letter, because the bounds are shown also to those who may not read.

    Raises:
        DeadLetterTopicGone, KafkaUnavailable, KafkaRefused: a replay could not read either.
    """
    for number, (begin, end) in bounds.items():
        if begin < end:
            await replays.rules.log.fetch(number, begin, 1)
            return


async def _survey(
    replays: Replays, name: str, plan: ReplayPlan, bounds: Mapping[int, LogBounds], left_s: float | None
) -> Survey:
    bound_s = SURVEY_S_MAX if left_s is None else min(SURVEY_S_MAX, left_s * (1 - MARGIN))
    rules = replays.rules
    return await survey(rules.log, bounds, plan, replays.book, name, rules.replays_max, bound_s)


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
