"""One record to the dead-letter topic, by whichever instance has its partition."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import grpc
from grpc import aio

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.access import CALLER
from mpsd.admin.daemon import Steerable
from mpsd.admin.fleet import Fleet
from mpsd.admin.validation import check_change, pipeline_of
from mpsd.core.audit import AuditEntry
from mpsd.core.control import Provenance
from mpsd.errors import RecordNotHere

FORWARDED = "mps-forwarded"
"""Metadata of a call that another instance made for its caller: it is answered here or not at all."""


DONE_MAX = 1_000
"""Answers that are remembered, each by the instance that was asked."""


class Skips:
    """Skips a record here, or asks the others.

    Holds at most: `DONE_MAX` answers.
    """

    def __init__(self, daemon: Steerable, fleet: Fleet) -> None:
        self._daemon = daemon
        self._fleet = fleet
        self._done: OrderedDict[str, pb.SkipResponse] = OrderedDict()

    def _remember(self, request_id: str, answer: pb.SkipResponse) -> pb.SkipResponse:
        """For who asks again as the answer was lost: the record is not there any more to be skipped twice."""
        self._done[request_id] = answer
        if len(self._done) > DONE_MAX:
            self._done.popitem(last=False)
        return answer

    async def skip(
        self, request: pb.SkipRequest, metadata: Sequence[tuple[str, str]], left_s: float | None, *, is_forwarded: bool
    ) -> pb.SkipResponse:
        """Raises InvalidArgument, NotFound, RecordNotHere."""
        check_change(request.change)
        pipeline = pipeline_of(self._daemon.pipelines, request.subscription)
        record = request.record
        has_it = any(
            (record.topic, record.partition) == queue.assignment.tp for queue in pipeline.pending.queues.values()
        )
        if is_forwarded and not has_it:
            return pb.SkipResponse()  # somebody else's
        if (known := self._done.get(request.change.request_id)) is not None:
            return known
        if has_it:
            landed = await pipeline.skip(record.topic, record.partition, record.offset, request.change.reason)
            await self._note(request, pipeline.settings.sender.group)
            where = pb.RecordRef(topic=landed.topic, partition=landed.partition, offset=landed.offset)
            return self._remember(request.change.request_id, pb.SkipResponse(dead_letter=where))
        return await self._forward(request, pipeline.settings.sender.group, metadata, left_s)

    async def _forward(
        self, request: pb.SkipRequest, group: str, metadata: Sequence[tuple[str, str]], left_s: float | None
    ) -> pb.SkipResponse:
        async def ask(stub: Any, timeout_s: float, sent: Sequence[tuple[str, str]]) -> pb.SkipResponse | str:
            try:
                answer: pb.SkipResponse = await stub.Skip(
                    request, timeout=timeout_s, metadata=[*sent, (FORWARDED, "1")]
                )
            except aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                    return str(error.details())
                raise
            return answer

        answers = await self._fleet.ask(self._fleet.others(group), ask, metadata, left_s)
        for _, said in answers.given:
            if isinstance(said, pb.SkipResponse) and said.HasField("dead_letter"):
                return self._remember(request.change.request_id, said)
        why = [said for _, said in answers.given if isinstance(said, str)]
        why += [f"{each.address}: {each.problem}" for each in answers.silent]
        record = request.record
        where = f"{record.topic}/{record.partition}@{record.offset}"
        raise RecordNotHere("; ".join(why) or f"{where} is of a partition that no instance has now: ask again")

    async def _note(self, request: pb.SkipRequest, group: str) -> None:
        change, record = request.change, request.record
        provenance = Provenance(
            CALLER.get().name, change.reason, int(time.time() * 1000), change.request_id, self._daemon.peer.admin
        )
        said = f"skip of {record.topic}/{record.partition}@{record.offset}"
        await self._daemon.control.audit(AuditEntry(provenance, -1, "Skip", group, request.subscription, said))
