"""Tasks of replays: their ids, the room for new ones, and what a new one begins with."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from mpsd.admin.calls import CALL
from mpsd.admin.daemon import Steerable
from mpsd.admin.wire import wall_ms
from mpsd.core.record import LogBounds
from mpsd.core.replay import ReplayPlan, ReplayState, ReplayTask
from mpsd.core.replay_progress import progress_key
from mpsd.errors import ReplayRefused
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replay.survey import Survey, survey
from mpsd.pipeline.replay.tasks import Replays

SURVEY_S_MAX = 60.0


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
        started_by=CALL.get().caller.name,
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


async def try_to_read(replays: Replays, bounds: Mapping[int, LogBounds]) -> None:
    """Read one dead letter, because the bounds are shown also to those who may not read.

    Raises:
        DeadLetterTopicGone, KafkaUnavailable, KafkaRefused: a replay could not read either.
    """
    for number, (begin, end) in bounds.items():
        if begin < end:
            await replays.rules.log.fetch(number, begin, 1)
            return


async def survey_of(replays: Replays, plan: ReplayPlan, bounds: Mapping[int, LogBounds]) -> Survey:
    """Return what a replay would deliver, as far as the caller waits for it."""
    rules, bound_s = replays.rules, CALL.get().within_s(SURVEY_S_MAX)
    return await survey(rules.log, bounds, plan, replays.book, replays.subscription, rules.replays_max, bound_s)
