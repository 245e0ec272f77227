"""New replay tasks: their names, what they say, and the room for them."""

import hashlib
import time
from collections.abc import Mapping

from mpsd.admin.access import CALLER
from mpsd.admin.daemon import Steerable
from mpsd.core.record import LogBounds
from mpsd.core.replay import ReplayPlan, ReplayState, ReplayTask
from mpsd.core.replay_progress import progress_key
from mpsd.errors import ReplayRefused
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replay.tasks import Replays


def task_id_of(group: str, subscription: str, request_id: str) -> str:
    """The same for the same request, so that it starts one replay however often it is made."""
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
        started_at_ms=int(time.time() * 1000),
        ended_at_ms=None,
        started_by=CALLER.get().name,
        started_reason=reason,
        topic_id=topic_id,
    )


async def make_room(replays: Replays) -> None:
    """Forget the oldest that have ended, if there are too many.

    Raises:
        ReplayRefused: none has ended, or what was replayed takes too much to remember.
    """
    for (source, number), size in replays.book.settled_bytes.items():
        if size >= replays.rules.replayed_bytes_max:
            raise ReplayRefused(
                f"what was replayed of {source} takes {size} bytes to remember, and control.replayed_bytes_max is"
                f" {replays.rules.replayed_bytes_max}: wait until partition {number} of the dead-letter topic has expired,"
                " or raise it"
            )
    tasks = sorted(replays.book.tasks.values(), key=lambda task: task.started_at_ms)
    surplus = len(tasks) - replays.rules.tasks_max + 1
    ended = [task for task in tasks if task.state.is_over][: max(0, surplus)]
    if len(ended) < surplus:
        unended = sum(not task.state.is_over for task in tasks)
        raise ReplayRefused(
            f"{unended} replays have not ended, and control.replays_max is {replays.rules.tasks_max}: wait for one, or"
            " cancel one"
        )
    for task in ended:
        reports = [(progress_key(task, source), None) for source in replays.book.reported(task.id)]
        await replays.rules.record([*reports, (task.key, None)])  # what it has settled stays known
