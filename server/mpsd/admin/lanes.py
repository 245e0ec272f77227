"""Lanes: the records that wait at the daemons, one line for each key, a page at a time."""

from heapq import nsmallest
from typing import Any

from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.calls import CALL, Context, Metadata
from mpsd.admin.daemon import AdminSettings, Steerable
from mpsd.admin.fleet import (
    Fleet,
    LanePosition,
    instance_of,
    lane_position,
    merge_lanes,
    merge_partitions,
    sort_instances,
)
from mpsd.admin.missing import listed, partition_name
from mpsd.admin.overview import StatusCalls
from mpsd.admin.status import status_of
from mpsd.admin.validation import check_topic, page_size, page_token, parse_token, pipeline_of, scope_of
from mpsd.admin.wire import SEVERITIES, timestamp
from mpsd.core.pauses import Scope
from mpsd.pipeline.inspection import LaneView, lanes_of
from mpsd.pipeline.pipeline import Pipeline
from mpsd.ports import Clock

BYTES_SHOWN_MAX = 1_024
_KIND = "lanes"


class Lanes:
    """The lanes of this daemon, a page at a time.

    The monotonic times of records become times of day by one difference, taken once: so a lane has the same position on
    every page.
    """

    def __init__(self, clock: Clock) -> None:
        self._epoch_s = clock.wall_s() - clock.monotonic_s()

    async def page(
        self,
        pipeline: Pipeline,
        scope: Scope,
        lanes_max: int,
        after: LanePosition | None,
        *,
        only_blocking: bool,
        values: bool,
    ) -> list[pb.Lane]:
        """Return the first lanes behind a position, in order.

        Args:
            values: whether to show them.
        """
        best: list[tuple[LanePosition, LaneView]] = []
        async for views in lanes_of(pipeline, scope, only_blocking=only_blocking):
            positioned = [(self._position(view), view) for view in views]
            candidates = [each for each in positioned if after is None or each[0] > after]
            best = nsmallest(lanes_max, best + candidates, key=lambda each: each[0])
        return [self._lane(view, position, values=values) for position, view in best]

    def _position(self, view: LaneView) -> LanePosition:
        record = view.head.record
        read_at_us = int((self._epoch_s + view.head.read_at_s) * 1_000_000)
        return LanePosition(read_at_us, record.topic, record.partition, record.offset)

    def _lane(self, view: LaneView, position: LanePosition, *, values: bool) -> pb.Lane:
        record = view.head.record
        lane = pb.Lane(
            head=pb.RecordRef(topic=record.topic, partition=record.partition, offset=record.offset),
            key=record.key[:BYTES_SHOWN_MAX] if record.key is not None else None,
            records=view.records,
            state=view.state.value,
            severity=SEVERITIES[view.state.severity],
            until=timestamp(int((self._epoch_s + view.until_s) * 1000)) if view.until_s is not None else None,
            attempts=view.attempts,
            last_outcome=view.last_outcome[:BYTES_SHOWN_MAX],
            blocks_commit=view.blocks_commit,
            value=record.value[:BYTES_SHOWN_MAX] if values and record.value is not None else None,
        )
        lane.read_at.FromMicroseconds(position.read_at_us)
        return lane


def next_page(lanes: list[pb.Lane], lanes_max: int) -> str:
    """Return the token of the next page; empty if this page is not full."""
    return page_token(_KIND, *lane_position(lanes[-1])) if len(lanes) >= lanes_max else ""


def position_after(token: str) -> LanePosition | None:
    """Parse a page token of lanes; raises InvalidArgument."""
    found = parse_token(token, _KIND, (int, str, int, int))
    if found is None:
        return None
    read_at_us, topic, partition, offset = found
    return LanePosition(int(read_at_us), str(topic), int(partition), int(offset))


class InspectCalls(StatusCalls):
    """The method that shows lanes."""

    def __init__(self, daemon: Steerable, fleet: Fleet, settings: AdminSettings) -> None:
        super().__init__(daemon, fleet, settings)
        self._lanes = Lanes(daemon.clock)

    @override
    async def Inspect(self, request: pb.InspectRequest, context: Context) -> pb.InspectResponse:
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

        async def ask(stub: Any, timeout_s: float, metadata: Metadata) -> pb.InspectResponse:
            alone = pb.InspectRequest()
            alone.CopyFrom(request)
            alone.scope = pb.SCOPE_INSTANCE
            answer: pb.InspectResponse = await stub.Inspect(alone, timeout=timeout_s, metadata=metadata)
            return answer

        given, silent = await self._others(request.scope, scope.subscription, ask)
        own = await self._lanes.page(pipeline, scope, size, after, only_blocking=request.blocked, values=request.values)
        status = status_of(self._daemon, self.rates, scope.subscription, partitions=True).subscriptions[0]
        heard = merge_partitions([*status.partitions, *(part for answer in given for part in answer.partitions)])
        if request.scope != pb.SCOPE_INSTANCE:
            said = {scope.subscription: listed(heard)}
            missing = await self._missing.look_up([pipeline], said, silent, CALL.get(), scope)
            heard = merge_partitions([*heard, *missing.get(scope.subscription, ())])
        lanes = merge_lanes([own, *(answer.lanes for answer in given)], size)
        instances = [instance_of(self._daemon), *(each for answer in given for each in answer.instances), *silent]
        return pb.InspectResponse(
            lanes=lanes,
            partitions=[part for part in heard if scope.covers(partition_name(part))],
            instances=sort_instances(instances),
            next_page_token=next_page(lanes, size),
        )
