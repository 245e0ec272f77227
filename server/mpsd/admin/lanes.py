"""What this daemon's queues hold now, as the wire says it, a page at a time."""

from heapq import nsmallest

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.merge import Place, place_of
from mpsd.admin.page_tokens import page_token, parse_token
from mpsd.admin.states import SEVERITIES
from mpsd.admin.times import timestamp
from mpsd.pipeline.inspection import LaneView, Wanted, lanes_of
from mpsd.pipeline.pipeline import Pipeline
from mpsd.ports import Clock

BYTES_SHOWN_MAX = 1_024
_KIND = "lanes"


class Lanes:
    """Lists lanes.

    The monotonic times of records become times of day by one difference, taken once: so a lane has the same place on
    every page.
    """

    def __init__(self, clock: Clock) -> None:
        self._epoch_s = clock.wall_s() - clock.monotonic_s()

    async def page(
        self, pipeline: Pipeline, wanted: Wanted, lanes_max: int, after: Place | None, *, values: bool
    ) -> list[pb.Lane]:
        """The first lanes behind a place, in order.

        Args:
            values: whether to show them.
        """
        best: list[tuple[Place, LaneView]] = []
        async for views in lanes_of(pipeline, wanted):
            placed = [(self._place(view), view) for view in views]
            candidates = [each for each in placed if after is None or each[0] > after]
            best = nsmallest(lanes_max, best + candidates, key=lambda each: each[0])
        return [self._lane(view, place, values=values) for place, view in best]

    def _place(self, view: LaneView) -> Place:
        record = view.head.record
        read_at_us = int((self._epoch_s + view.head.read_at_s) * 1_000_000)
        return Place(read_at_us, record.topic, record.partition, record.offset)

    def _lane(self, view: LaneView, place: Place, *, values: bool) -> pb.Lane:
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
        lane.read_at.FromMicroseconds(place.read_at_us)
        return lane


def next_page(lanes: list[pb.Lane], lanes_max: int) -> str:
    """The token of what comes behind these; empty if they are fewer than there could be."""
    return page_token(_KIND, *place_of(lanes[-1])) if len(lanes) >= lanes_max else ""


def place_after(token: str) -> Place | None:
    """Raises InvalidArgument."""
    found = parse_token(token, _KIND, (int, str, int, int))
    if found is None:
        return None
    read_at_us, topic, partition, offset = found
    return Place(int(read_at_us), str(topic), int(partition), int(offset))
