"""Resets of committed offsets: previewed, then written for the owners to apply."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

from typing_extensions import override

from mps.admin.v1 import admin_pb2 as pb
from mpsd.admin.calls import Context
from mpsd.admin.confirmation import Changes
from mpsd.admin.refusals import InvalidArgument, NotFound, unknown
from mpsd.admin.validation import check_change, pipeline_of
from mpsd.core.control import OfSubscription
from mpsd.core.record import TopicPartition
from mpsd.core.resets import RESET, Move, Reset, Target, To

OFFSETS_MAX = 10_000
_EDGES: Mapping[pb.LogEdge.ValueType, To] = {
    pb.LOG_EDGE_EARLIEST: "earliest",
    pb.LOG_EDGE_LATEST: "latest",
}


class ResetCalls(Changes):
    """The method that moves committed offsets."""

    @override
    async def Reset(self, request: pb.ResetRequest, context: Context) -> pb.ResetResponse:
        """Move the committed offsets, or preview the move; a repeated request returns the result of the first."""
        if not request.dry_run:
            check_change(request.change)
        daemon, name = self._daemon, request.subscription
        pipeline = pipeline_of(daemon.pipelines, name)
        group = pipeline.settings.sender.group
        to = to_of(request, datetime.fromtimestamp(daemon.clock.wall_s(), UTC))
        if isinstance(to, Mapping):
            _check_places(name, to, await daemon.partitions(name))
        moves = await daemon.moves(name, to)
        if isinstance(to, Mapping):
            _check_ends(to, moves)
        if request.dry_run:
            return pb.ResetResponse(partitions=_wire(moves))
        reset_id = hashlib.sha256(f"{group}\0{name}\0{request.change.request_id}".encode()).hexdigest()[:8]
        targets = {tp: Target(move.to, move.committed) for tp, move in moves.items()}
        description = f"reset {reset_id} of {name}: {len(targets)} partition{'' if len(targets) == 1 else 's'}"
        key, document = (
            RESET.entity_key(group, OfSubscription(name)),
            RESET.document(Reset(id=reset_id, targets=targets)),
        )
        changed = await self._write(key, document, request.change, "Reset", description)
        made = pipeline.controls.reset
        if made is not None and made.id == reset_id:  # the first time, if this is not it: offsets have moved since
            moves = {
                tp: moves[tp]._replace(committed=target.end, to=target.offset)
                for tp, target in made.targets.items()
                if tp in moves
            }
        return pb.ResetResponse(id=reset_id, partitions=_wire(moves), changed=changed)


def to_of(request: pb.ResetRequest, now: datetime) -> To:
    """Return the target of a reset.

    Raises:
        InvalidArgument: nowhere, or a place that cannot be.
    """
    match request.WhichOneof("to"):
        case "edge":
            if request.edge not in _EDGES:
                raise InvalidArgument("edge", "must be LOG_EDGE_EARLIEST or LOG_EDGE_LATEST")
            return _EDGES[request.edge]
        case "time":
            return _time_of(request, now)
        case "offsets":
            return _offsets_of(request.offsets)
        case _:
            raise InvalidArgument("to", "say where to: edge, time or offsets")


def _time_of(request: pb.ResetRequest, now: datetime) -> datetime:
    try:
        at = request.time.ToDatetime(tzinfo=UTC)
    except ValueError as error:
        raise InvalidArgument("time", str(error)) from error
    if at.timestamp() < 0:
        raise InvalidArgument("time", f"{at.isoformat()} is before 1970, and no record is that old; earliest is meant?")
    if at > now:
        raise InvalidArgument(
            "time", f"{at.isoformat()} is in the future; use LOG_EDGE_LATEST to leave out all there is"
        )
    return at


def _offsets_of(offsets: pb.Offsets) -> dict[TopicPartition, int]:
    if not 1 <= len(offsets.offsets) <= OFFSETS_MAX:
        raise InvalidArgument("offsets.offsets", f"has {len(offsets.offsets)} entries; 1 to {OFFSETS_MAX} are needed")
    found: dict[TopicPartition, int] = {}
    for place, each in enumerate(offsets.offsets):
        tp = TopicPartition(each.topic, each.partition)
        if each.offset < 0:
            raise InvalidArgument(f"offsets.offsets[{place}].offset", f"{each.offset} is negative")
        if tp in found:
            raise InvalidArgument(f"offsets.offsets[{place}]", f"{tp} is named twice")
        found[tp] = each.offset
    return found


def _check_places(name: str, offsets: Mapping[TopicPartition, int], counts: Mapping[str, int]) -> None:
    for tp in offsets:
        if tp.topic not in counts:
            raise unknown(f"topic of {name}", tp.topic, counts.keys())
        if not 0 <= tp.partition < counts[tp.topic]:
            words = f"{tp.topic} has the partitions 0 to {counts[tp.topic] - 1}; there is no {tp.partition}"
            raise NotFound(words, "partition", str(tp))


def _check_ends(offsets: Mapping[TopicPartition, int], moves: Mapping[TopicPartition, Move]) -> None:
    """Raise InvalidArgument if an offset is beyond the end of its log; an offset before the start is moved to the start."""
    for place, (tp, offset) in enumerate(offsets.items()):
        if tp in moves and offset > moves[tp].log_end:
            words = f"{tp} ends at {moves[tp].log_end}: there is no {offset} yet; use LOG_EDGE_LATEST to leave out all there is"
            raise InvalidArgument(f"offsets.offsets[{place}].offset", words)


def _wire(moves: Mapping[TopicPartition, Move]) -> list[pb.ResetPartition]:
    return [
        pb.ResetPartition(
            topic=tp.topic,
            partition=tp.partition,
            from_offset=move.committed,
            to_offset=move.to,
            repeated_records=move.repeated,
            skipped_records=move.skipped,
        )
        for tp, move in sorted(moves.items())
    ]
