"""Skips: one record is moved to the dead-letter topic by the instance that has its partition."""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

import grpc
from grpc import aio

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.access import CALLER, CALLER_KEY
from mpsd.admin.daemon import Steerable
from mpsd.admin.fleet import Fleet
from mpsd.admin.replays import ReplayRoom, new_task, task_id_of
from mpsd.admin.validation import check_change, check_topic, pipeline_of
from mpsd.admin.wire import wall_ms
from mpsd.core.audit import AuditEntry
from mpsd.core.control import Provenance
from mpsd.core.dead_letter_record import DeadLetterFilter
from mpsd.core.pauses import Scope
from mpsd.core.record import LogBounds, TopicPartition
from mpsd.core.replay import ReplayPlan, ReplayTask
from mpsd.core.skips import SKIP, Skip
from mpsd.errors import ControlOff, ControlUnavailable, RecordNotHere, RequestIdReused
from mpsd.pipeline.pipeline import Pipeline
from mpsd.pipeline.replay.skips import DeadHead, skip_dead


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
            who=CALLER.get().name,
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


FORWARDED = "mps-forwarded"
"""Metadata of a call that another instance made for its caller: it is answered here or not at all."""


DONE_MAX = 1_000
"""Answers that this instance remembers by itself, for when the control topic cannot be written, or is off."""


class Skips:
    """The skips of this instance; a skip of another's partition is forwarded.

    Holds at most: `DONE_MAX` answers, and a task for each call whose dead letter is not written yet.
    """

    def __init__(self, daemon: Steerable, fleet: Fleet, room: ReplayRoom) -> None:
        self._room = room
        self._daemon = daemon
        self._fleet = fleet
        self._done: OrderedDict[str, tuple[str, pb.RecordRef, pb.SkipResponse]] = OrderedDict()
        self._under_way: set[asyncio.Task[pb.SkipResponse]] = set()

    def end(self) -> None:
        """Cancel the skips that are not written yet; their records are delivered again after the next start."""
        for task in self._under_way:
            task.cancel()

    async def skip(
        self, request: pb.SkipRequest, metadata: Sequence[tuple[str, str]], left_s: float | None, *, is_forwarded: bool
    ) -> pb.SkipResponse:
        """Skip a record; raises InvalidArgument, NotFound, RecordNotHere, RequestIdReused, and what `skip_blocked` raises."""
        check_change(request.change)
        pipeline = pipeline_of(self._daemon.pipelines, request.subscription)
        record = request.record
        has_it = any(
            (record.topic, record.partition) == queue.assignment.tp for queue in pipeline.pending.queues.values()
        )
        if is_forwarded and not has_it:
            return pb.SkipResponse()  # somebody else's
        if (known := self._known(request, pipeline)) is not None:
            return known
        try:
            if has_it:
                return await self._to_the_end(self._here(request, pipeline))
            return await self._forward(request, pipeline.settings.sender.group, metadata, left_s)
        except RecordNotHere:  # because this very request was done before, by whoever has just heard of it?
            with suppress(ControlUnavailable):
                await self._daemon.control.read_to_end()
            if (known := self._known(request, pipeline)) is not None:
                return known
            raise

    def _known(self, request: pb.SkipRequest, pipeline: Pipeline) -> pb.SkipResponse | None:
        """Return the answer of the first time; raises RequestIdReused if the id was used for something else."""
        request_id, record = request.change.request_id, request.record
        found = self._done.get(request_id)
        if found is not None and found[:2] == (request.subscription, record):
            return found[2]
        done = self._daemon.control.request(request_id)
        if found is None and done is None:
            return None
        source = TopicPartition(record.topic, record.partition), record.offset
        skip = SKIP.key_of(done.key) if done is not None and done.key[0] == pipeline.settings.sender.group else None
        if skip is None or (skip.subscription, skip.source) != (request.subscription, source):
            raise RequestIdReused(f"request id {request_id} was used for another change")
        dead_letter = TopicPartition(skip.dead_letter_topic, skip.dead_letter_partition), skip.dead_letter_offset
        return pb.SkipResponse(dead_letter=_ref(*dead_letter), replay_id=replay_of(pipeline, request_id))

    async def _to_the_end(self, work: Coroutine[Any, Any, pb.SkipResponse]) -> pb.SkipResponse:
        """Finish a skip even if the caller goes away, so that the history has every skip that was made."""
        self._under_way.add(task := asyncio.create_task(work, name="skip"))
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _here(self, request: pb.SkipRequest, pipeline: Pipeline) -> pb.SkipResponse:
        record, group = request.record, pipeline.settings.sender.group
        try:
            dlq_position = await pipeline.skip(record.topic, record.partition, record.offset, request.change.reason)
        except RecordNotHere as error:
            answer = await skip_blocked(self._daemon, self._room, pipeline, request, error)
            dead_letter = (
                TopicPartition(answer.dead_letter.topic, answer.dead_letter.partition),
                answer.dead_letter.offset,
            )
        else:
            dead_letter = TopicPartition(dlq_position.topic, dlq_position.partition), dlq_position.offset
            answer = pb.SkipResponse(dead_letter=_ref(*dead_letter))
        self._done[request.change.request_id] = request.subscription, record, answer
        if len(self._done) > DONE_MAX:
            self._done.popitem(last=False)
        (topic, partition), offset = dead_letter
        skip = Skip(request.subscription, record.topic, record.partition, record.offset, topic, partition, offset)
        await self._note(request, group, SKIP.entity_key(group, skip))
        return answer

    async def _note(self, request: pb.SkipRequest, group: str, key: tuple[str, ...]) -> None:
        """Write the skip into the control topic, or only into the history if that fails; the record is dead in any case."""
        change, record, who = request.change, request.record, CALLER.get().name
        said = f"skip of {record.topic}/{record.partition}@{record.offset}"
        try:
            await self._daemon.control.change(
                key, None, who=who, reason=change.reason, request_id=change.request_id, method="Skip",
                description=said, subscription=request.subscription,
            )  # fmt: skip
        except (ControlOff, ControlUnavailable, RequestIdReused):
            now_ms, address = wall_ms(self._daemon.clock), self._daemon.peer.admin
            provenance = Provenance(who, change.reason, now_ms, change.request_id, address)
            await self._daemon.control.audit(AuditEntry(provenance, -1, "Skip", group, request.subscription, said))

    async def _forward(
        self, request: pb.SkipRequest, group: str, metadata: Sequence[tuple[str, str]], left_s: float | None
    ) -> pb.SkipResponse:
        forwarded = [(FORWARDED, "1"), (CALLER_KEY, CALLER.get().name.encode())]

        async def ask(stub: Any, timeout_s: float, sent: Sequence[tuple[str, str]]) -> pb.SkipResponse | str:
            try:
                answer: pb.SkipResponse = await stub.Skip(request, timeout=timeout_s, metadata=[*sent, *forwarded])
            except aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                    return str(error.details())
                raise
            return answer

        answers = await self._fleet.ask(self._fleet.others(group), ask, metadata, left_s)
        for _, said in answers.given:
            if isinstance(said, pb.SkipResponse) and said.HasField("dead_letter"):
                return said
        why = [said for _, said in answers.given if isinstance(said, str)]
        why += [f"{each.address}: {each.problem}" for each in answers.silent]
        record = request.record
        place = Scope(request.subscription, record.topic, record.partition, None)
        check_topic(place, await self._daemon.partitions(request.subscription))
        where = f"{record.topic}/{record.partition}@{record.offset}"
        raise RecordNotHere("; ".join(why) or f"{where} is of a partition that no instance has now: ask again")


def _ref(tp: TopicPartition, offset: int) -> pb.RecordRef:
    return pb.RecordRef(topic=tp.topic, partition=tp.partition, offset=offset)
