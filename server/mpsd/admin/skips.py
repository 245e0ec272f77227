"""Skips: one record is moved to the dead-letter topic by the instance that has its partition."""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import grpc
from grpc import aio
from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.blocked_skips import replay_of, skip_blocked
from mpsd.admin.calls import CALL, CALLER_KEY, Context
from mpsd.admin.daemon import AdminSettings, Steerable
from mpsd.admin.fleet import Fleet
from mpsd.admin.replays import ReplayCalls
from mpsd.admin.validation import check_change, check_topic, pipeline_of
from mpsd.admin.wire import wall_ms
from mpsd.core.audit import AuditEntry
from mpsd.core.control import Provenance
from mpsd.core.pauses import Scope
from mpsd.core.skips import SKIP, Skip
from mpsd.errors import ControlOff, ControlUnavailable, RecordNotHere, RequestIdReused
from mpsd.pipeline.pipeline import Pipeline

FORWARDED = "mps-forwarded"
"""Metadata of a call that another instance made for its caller: it is answered here or not at all."""
DONE_MAX = 1_000
"""Answers that this instance remembers by itself, for when the control topic cannot be written, or is off."""


class SkipCalls(ReplayCalls):
    """The method that skips a record; a skip of another's partition is forwarded. What a blocked key kept back is replayed.

    Holds at most: `DONE_MAX` answers, and a task for each call whose dead letter is not written yet.
    """

    def __init__(self, daemon: Steerable, fleet: Fleet, settings: AdminSettings) -> None:
        super().__init__(daemon, fleet, settings)
        self._done: OrderedDict[str, tuple[str, pb.RecordRef, pb.SkipResponse]] = OrderedDict()
        self._skipping: set[asyncio.Task[pb.SkipResponse]] = set()

    def _cancel_skips(self) -> None:
        """Cancel the skips that are not written yet; their records are delivered again after the next start."""
        for task in self._skipping:
            task.cancel()

    @override
    async def Skip(self, request: pb.SkipRequest, context: Context) -> pb.SkipResponse:
        check_change(request.change)
        pipeline = pipeline_of(self._daemon.pipelines, request.subscription)
        record = request.record
        has_it = any(
            (record.topic, record.partition) == queue.assignment.tp for queue in pipeline.pending.queues.values()
        )
        if not has_it and any(name == FORWARDED for name, _ in context.invocation_metadata() or ()):
            return pb.SkipResponse()  # somebody else's
        if (known := self._known(request, pipeline)) is not None:
            return known
        try:
            if has_it:
                return await self._to_the_end(self._here(request, pipeline))
            return await self._forward(request, pipeline.settings.sender.group)
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
        source = (record.topic, record.partition), record.offset
        skip = SKIP.key_of(done.key) if done is not None and done.key[0] == pipeline.settings.sender.group else None
        if skip is None or (skip.subscription, skip.source) != (request.subscription, source):
            raise RequestIdReused(f"request id {request_id} was used for another change")
        dead_letter = pb.RecordRef(
            topic=skip.dead_letter_topic, partition=skip.dead_letter_partition, offset=skip.dead_letter_offset
        )
        return pb.SkipResponse(dead_letter=dead_letter, replay_id=replay_of(pipeline, request_id))

    async def _to_the_end(self, work: Coroutine[Any, Any, pb.SkipResponse]) -> pb.SkipResponse:
        """Finish a skip even if the caller goes away, so that the history has every skip that was made."""
        self._skipping.add(task := asyncio.create_task(work, name="skip"))
        task.add_done_callback(self._skipping.discard)
        return await asyncio.shield(task)

    async def _here(self, request: pb.SkipRequest, pipeline: Pipeline) -> pb.SkipResponse:
        record, group = request.record, pipeline.settings.sender.group
        try:
            position = await pipeline.skip(record.topic, record.partition, record.offset, request.change.reason)
        except RecordNotHere as error:
            answer = await skip_blocked(self._daemon, self._room, pipeline, request, error)
        else:
            answer = pb.SkipResponse(dead_letter=pb.RecordRef(**position._asdict()))
        self._done[request.change.request_id] = request.subscription, record, answer
        if len(self._done) > DONE_MAX:
            self._done.popitem(last=False)
        dead = answer.dead_letter
        skip = Skip(
            request.subscription, record.topic, record.partition, record.offset, dead.topic, dead.partition, dead.offset
        )
        await self._note(request, group, SKIP.entity_key(group, skip))
        return answer

    async def _note(self, request: pb.SkipRequest, group: str, key: tuple[str, ...]) -> None:
        """Write the skip into the control topic, or only into the history if that fails; the record is dead in any case."""
        change, record, who = request.change, request.record, CALL.get().caller.name
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

    async def _forward(self, request: pb.SkipRequest, group: str) -> pb.SkipResponse:
        call = CALL.get()
        forwarded = [(FORWARDED, "1"), (CALLER_KEY, call.caller.name.encode())]

        async def ask(stub: Any, timeout_s: float, sent: Sequence[tuple[str, str]]) -> pb.SkipResponse | str:
            try:
                answer: pb.SkipResponse = await stub.Skip(request, timeout=timeout_s, metadata=[*sent, *forwarded])
            except aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                    return str(error.details())
                raise
            return answer

        answers = await self._fleet.ask(self._fleet.others(group), ask, call.credentials, call.left_s())
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
