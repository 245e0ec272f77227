"""Skips of dead letters that block their keys."""

from collections.abc import Mapping

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.calls import CALL
from mpsd.admin.daemon import Steerable
from mpsd.admin.replay_tasks import ReplayRoom, new_task, task_id_of
from mpsd.core.dead_letter_record import DeadLetterFilter
from mpsd.core.record import LogBounds
from mpsd.core.replay import ReplayPlan, ReplayTask
from mpsd.errors import RecordNotHere
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replay.blocked_key_skips import DeadHead, skip_dead


async def skip_blocked(
    daemon: Steerable, room: ReplayRoom, pipeline: Pipeline, request: pb.SkipRequest, not_queued: RecordNotHere
) -> pb.SkipResponse:
    """Skip a record that is in no queue here: settle its dead letter, and replay the records that are blocked behind it.

    Args:
        not_queued: raised if it holds no key either.

    Raises:
        RecordNotHere: it holds no key, or something else does.
        ReplayRefused: a replay is at work on the key, or there is no room for another.
        DeadLetterTopicGone, KafkaUnavailable, KafkaRefused, ControlUnavailable, ControlOff: ask again with the same
            request id; nothing is skipped twice.
    """
    replays, record = pipeline.replays, request.record
    queue = next(
        (each for each in pipeline.pending.queues.values() if each.assignment.tp == (record.topic, record.partition)),
        None,
    )
    if not pipeline.blocked.is_on or replays is None or queue is None:
        raise not_queued
    task_id = task_id_of(pipeline.settings.sender.group, pipeline.settings.name, request.change.request_id)
    if (known := replays.book.tasks.get(task_id)) is not None:
        return _answer_again(replays.rules.topic, known, record)
    async with room.room(replays, task_id):
        head = await skip_dead(queue, replays, record.offset, not_queued)
        bounds, topic_id = await replays.rules.log.bounds(), replays.rules.log.topic_id
        plan = ReplayPlan(filter=DeadLetterFilter(topic=record.topic, partition=record.partition, key=head.key))
        reason = f"{record.topic}/{record.partition}@{record.offset} is skipped: {request.change.reason}"
        task = await new_task(daemon, task_id, pipeline, plan, _from(head, bounds), topic_id, reason)
        await daemon.control.change(
            task.key,
            task.document(),
            who=CALL.get().caller.name,
            reason=reason,
            request_id="",
            method="StartReplay",
            description=f"replay {task_id} of what was blocked behind {record.topic}/{record.partition}@{record.offset}",
            subscription=task.subscription,
        )
    dead_letter = pb.RecordRef(topic=replays.rules.topic, partition=head.number, offset=head.dead_letter)
    return pb.SkipResponse(dead_letter=dead_letter, replay_id=task_id, blocked_records=head.behind)


def replay_of(pipeline: Pipeline, request_id: str) -> str:
    """Return the id of the replay that a skip has started; empty if it has started none."""
    task_id = task_id_of(pipeline.settings.sender.group, pipeline.settings.name, request_id)
    return task_id if pipeline.replays is not None and task_id in pipeline.replays.book.tasks else ""


def _from(head: DeadHead, bounds: Mapping[int, LogBounds]) -> dict[int, LogBounds]:
    """Return the bounds of the replay: from the skipped dead letter on; older dead letters of the key stay dead."""
    return {
        number: LogBounds(min(head.dead_letter, end), end) if number == head.number else LogBounds(end, end)
        for number, (_, end) in bounds.items()
    }


def _answer_again(topic: str, task: ReplayTask, record: pb.RecordRef) -> pb.SkipResponse:
    """Return the answer of the first call: the bounds of its replay begin with the dead letter, see `_from`."""
    number = record.partition % len(task.bounds)
    dead_letter = pb.RecordRef(topic=topic, partition=number, offset=task.bounds[number].start)
    return pb.SkipResponse(dead_letter=dead_letter, replay_id=task.id)
